//! An answer that passes through while it is made.
//!
//! # Rules
//! - What is passed on was read first: whole events of one answer. It is kept as well, since only the whole can be
//!   checked against its receipt, and others may wait for the same payment. So memory is bounded by the largest
//!   answer, and by the number of places.
//! - Once something has gone out, no other provider can take over: its answer would be another one.
//! - The receipt's event goes out last, after everything that a whole answer is checked for.
//! - A client that goes away, or takes nothing for a while, is left: the provider is told by the closed
//!   connection, and settles what it has made.
//!
//! # When things go wrong
//! A client that has read something gets an event with an error instead of the receipt, which says where its money
//! is. An answer that ends without its receipt is none.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::body::{Body, HttpBody};
use bytes::{Bytes, BytesMut};
use http_body::Frame;
use nabla_types::{
    chat::{
        AnswerHead, CHAT_RESPONSE_BYTES_MAX, EventReader, StreamItem, done_event, failed_event, receipt_event,
    },
    receipt::{Salt, SignedReceipt},
};
use tokio::{sync::mpsc, time::timeout};

use crate::{
    answer::Answer,
    backend::{JobAnswer, JobStream},
    error::Error,
    flight::Outcome,
};

/// Events that may wait for a client.
const EVENTS_MAX: usize = 64;

/// What is passed on of a stream, by a gateway or by the node that makes it.
#[derive(Debug)]
pub enum Part {
    /// First: what will open the receipt's commitments.
    Start(Salt),
    /// Then events.
    Event(Bytes),
}

/// Where an answer goes while it comes.
#[derive(Debug)]
pub(crate) struct Sink {
    parts: mpsc::Sender<Part>,
    pause: Duration,
    has_begun: bool,
}

/// How an answer's passing ended before its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Broken {
    /// The provider's fault, in words for the log and for the client.
    Provider(String),
    /// Nobody listens any more.
    Left,
}

impl Sink {
    /// A sink that is given up after a pause this long, and where its parts come out.
    pub(crate) fn new(pause: Duration) -> (Self, mpsc::Receiver<Part>) {
        let (parts, receiver) = mpsc::channel(EVENTS_MAX);
        (Self { parts, pause, has_begun: false }, receiver)
    }

    /// Whether something has gone out.
    pub(crate) fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// Whether nobody listens any more.
    pub(crate) fn is_left(&self) -> bool {
        self.parts.is_closed()
    }

    async fn send(&mut self, part: Part) -> Result<(), Broken> {
        self.has_begun = true;
        self.parts.send_timeout(part, self.pause).await.map_err(|_| Broken::Left)
    }

    /// Pass an answer on, up to its receipt.
    pub(crate) async fn pass(&mut self, stream: JobStream) -> Result<JobAnswer, Broken> {
        let JobStream { salt, mut events } = stream;
        let (mut reader, mut response) = (EventReader::default(), BytesMut::new());
        let mut receipt = None;
        loop {
            let Some(bytes) = self.next(&mut events).await? else {
                return Err(cut(response.len()));
            };
            reader.push(&bytes);
            while let Some(event) = reader.next_event().map_err(unreadable)? {
                match (StreamItem::of(&event).map_err(unreadable)?, receipt.is_some()) {
                    (StreamItem::Chunk(_), false) => {
                        if response.len() + event.len() > CHAT_RESPONSE_BYTES_MAX {
                            let reason = format!("the answer has more than {CHAT_RESPONSE_BYTES_MAX} bytes");
                            return Err(Broken::Provider(reason));
                        }
                        response.extend_from_slice(&event);
                        if !self.has_begun {
                            self.send(Part::Start(salt)).await?;
                        }
                        self.send(Part::Event(event.into())).await?;
                    }
                    (StreamItem::Receipt { receipt: cose, salt: again }, false) if again == salt => {
                        receipt = Some(cose);
                    }
                    (StreamItem::Done, _) => {
                        let receipt = receipt.ok_or_else(|| cut(response.len()))?;
                        return Ok(JobAnswer { response: response.freeze(), receipt, salt });
                    }
                    (StreamItem::Failed(info), _) => {
                        // The reason is logged, and a provider's words may be anything.
                        let is_plain = |b: u8| b.is_ascii_lowercase() || b == b'_';
                        let code: String =
                            info.code.bytes().filter(|b| is_plain(*b)).take(60).map(char::from).collect();
                        return Err(Broken::Provider(format!("the provider failed ({code})")));
                    }
                    _ => return Err(Broken::Provider("its events are out of order".to_owned())),
                }
            }
        }
    }

    /// The next bytes of the provider, `None` at their end.
    async fn next(&self, events: &mut Body) -> Result<Option<Bytes>, Broken> {
        let read = timeout(self.pause, next_bytes(events));
        tokio::select! {
            biased;
            () = self.parts.closed() => Err(Broken::Left),
            read = read => match read {
                Ok(Some(Ok(bytes))) => Ok(Some(bytes)),
                Ok(None) => Ok(None),
                Ok(Some(Err(error))) => Err(Broken::Provider(format!("the connection broke: {error}"))),
                Err(_) => Err(Broken::Provider(format!("a pause of more than {} ms", self.pause.as_millis()))),
            },
        }
    }

    /// The end of what has begun: receipt or error.
    pub(crate) async fn end(mut self, outcome: &Outcome) {
        let last = match outcome {
            _ if !self.has_begun => return,
            Ok(answer) => tail(answer),
            Err(error) => failed_event(error.info()).into(),
        };
        // Who has gone does not miss it.
        let _ = self.send(Part::Event(last)).await;
    }
}

/// What follows an answer: its receipt, and the end.
pub(crate) fn tail(answer: &Answer) -> Bytes {
    let receipt = SignedReceipt::from_bytes(&answer.receipt).ok();
    let Some(receipt) = receipt else {
        return failed_event(Error::Internal.info()).into();
    };
    let head = AnswerHead::of(receipt.claims(), true, false);
    let mut bytes = receipt_event(&head, &answer.receipt, answer.salt);
    bytes.extend(done_event());
    bytes.into()
}

fn unreadable(error: nabla_types::chat::ChatError) -> Broken {
    Broken::Provider(error.to_string().chars().take(200).collect())
}

fn cut(bytes: usize) -> Broken {
    Broken::Provider(format!("the answer ends after {bytes} bytes, without a receipt"))
}

async fn next_bytes(body: &mut Body) -> Option<Result<Bytes, axum::Error>> {
    loop {
        let frame = std::future::poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await?;
        match frame.map(Frame::into_data) {
            Ok(Ok(bytes)) => return Some(Ok(bytes)),
            // Trailers say nothing here.
            Ok(Err(_)) => {}
            Err(error) => return Some(Err(error)),
        }
    }
}

/// The body of a response whose events come out of a channel.
#[derive(Debug)]
pub struct Events(pub mpsc::Receiver<Part>);

impl HttpBody for Events {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        loop {
            match std::task::ready!(self.0.poll_recv(context)) {
                Some(Part::Event(bytes)) => return Poll::Ready(Some(Ok(Frame::data(bytes)))),
                Some(Part::Start(_)) => {}
                None => return Poll::Ready(None),
            }
        }
    }
}
