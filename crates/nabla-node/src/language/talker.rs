//! The thread in which one language model answers everyone.
//!
//! # Rules
//! - One thread drives the model's scheduler: a step is a token for everybody who is being answered.
//! - Requests are checked, and their grammars compiled, by whoever asks: the thread has other things to do.
//! - What a step brings goes to each asker's own channel, which holds at most the tokens that were asked for. An
//!   asker who is slow holds up nobody; one who drops his end is forgotten before the next step.
//! - The thread ends with its last [`Talker`].
//!
//! # When things go wrong
//! A request that is refused is answered with the refusal. If the thread is gone, so are the channels.

use std::{fmt, thread};

use nabla_engine::{
    Error,
    language::{Event, Generation, JobId, Prepared, Scheduler, SchedulerConfig, TextModel},
};
use tokio::sync::{mpsc, oneshot};

/// Requests that may wait for the thread itself, which is at most a step away.
const ASKS_MAX: usize = 256;

/// What an asker is told.
pub type TalkerEvent = Event;

/// A request to a model.
pub struct Ask {
    /// Who shares a turn: requests of one client wait for each other, not for those of others.
    pub client: u64,
    /// What is asked.
    pub generation: Generation,
}

impl fmt::Debug for Ask {
    /// Nothing of what is asked.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ask({} tokens)", self.generation.prompt.len())
    }
}

struct Request {
    client: u64,
    prepared: Prepared,
    events: mpsc::Sender<Event>,
    answer: oneshot::Sender<Result<(), Error>>,
}

/// A handle of the thread. A clone is the same.
#[derive(Clone)]
pub struct Talker {
    model: TextModel,
    requests: mpsc::Sender<Request>,
}

impl fmt::Debug for Talker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Talker")
    }
}

impl Talker {
    /// Begin the thread of a model.
    ///
    /// # Errors
    /// As [`Scheduler::new`]; [`Error::Step`] if there is no thread to be had.
    pub fn begin(model: TextModel, config: SchedulerConfig) -> Result<Self, Error> {
        let scheduler = Scheduler::new(model.clone(), config)?;
        let (requests, receiver) = mpsc::channel(ASKS_MAX);
        let talk = move || Talk { scheduler, requests: receiver, askers: Vec::new() }.run();
        let begun = thread::Builder::new().name("talker".to_owned()).spawn(talk);
        begun.map_err(|error| Error::Step { problem: format!("no thread for the model: {error}") })?;
        Ok(Self { model, requests })
    }

    /// Whether its thread has ended, which it does not by itself.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.requests.is_closed()
    }

    /// Ask, and get the channel that the answer comes through, to its last event.
    ///
    /// # Errors
    /// As [`Prepared::new`] and [`Scheduler::submit_prepared`]; [`Error::Busy`] also if the thread has no time even to
    /// refuse.
    pub async fn ask(&self, ask: Ask) -> Result<mpsc::Receiver<Event>, Error> {
        let gone = || Error::Step { problem: "the model's thread has ended".to_owned() };
        let Ask { client, generation } = ask;
        let room = (generation.max_tokens as usize).max(1);
        let model = self.model.clone();
        let prepared = tokio::task::spawn_blocking(move || Prepared::new(&model, generation)).await;
        let prepared = prepared.map_err(|error| Error::Step { problem: error.to_string() })??;
        // All tokens and the end: the thread never waits for who reads them.
        let (events, receiver) =
            mpsc::channel(room.saturating_add(1).min(tokio::sync::Semaphore::MAX_PERMITS));
        let (answer, answered) = oneshot::channel();
        let request = Request { client, prepared, events, answer };
        self.requests.try_send(request).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Error::Busy { waiting: ASKS_MAX },
            mpsc::error::TrySendError::Closed(_) => gone(),
        })?;
        answered.await.map_err(|_| gone())?.map(|()| receiver)
    }
}

/// What the thread has.
struct Talk {
    scheduler: Scheduler,
    requests: mpsc::Receiver<Request>,
    askers: Vec<(JobId, mpsc::Sender<Event>)>,
}

impl Talk {
    fn run(mut self) {
        loop {
            if self.scheduler.is_idle() {
                let Some(request) = self.requests.blocking_recv() else { return };
                self.submit(request);
            }
            while let Ok(request) = self.requests.try_recv() {
                self.submit(request);
            }
            self.forget_the_gone();
            for (job, event) in self.scheduler.step() {
                self.tell(job, event);
            }
        }
    }

    fn submit(&mut self, request: Request) {
        let Request { client, prepared, events, answer } = request;
        let submitted = self.scheduler.submit_prepared(client, prepared);
        let told = match submitted {
            Ok(job) => {
                self.askers.push((job, events));
                answer.send(Ok(()))
            }
            Err(error) => answer.send(Err(error)),
        };
        // Who has gone already is found with the others.
        drop(told);
    }

    fn forget_the_gone(&mut self) {
        let scheduler = &mut self.scheduler;
        self.askers.retain(|(job, events)| {
            if events.is_closed() {
                scheduler.cancel(*job);
            }
            !events.is_closed()
        });
    }

    fn tell(&mut self, job: JobId, event: Event) {
        let Some(index) = self.askers.iter().position(|(asker, _)| *asker == job) else { return };
        let is_last = !matches!(event, Event::Piece(_));
        // There is room, or nobody listens.
        let told = self.askers[index].1.try_send(event);
        if is_last {
            self.askers.swap_remove(index);
        }
        drop(told);
    }
}
