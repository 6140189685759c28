//! One validator orders everything: [`SingleValidator`], the first [`Sequencer`].
//!
//! ```text
//! submit -> queue -> [ one thread: propose, sign, journal, sync, commit, answer ] -> tickets
//!                                                                    |
//!                                                     state (readers), height (waiters)
//! ```
//!
//! # Rules
//! - One thread owns journal and state. While it writes one block, transactions gather for the next: one
//!   sync for all of them, and no waiting when there is only one.
//! - The order is journal, sync, state, answer. Nobody reads or hears of what a crash could take back.
//! - A transaction that is in a block already is answered with that block, as often as it is submitted.
//! - A block is made only if there is something in it, or a reserved payment has expired.
//! - The queue is bounded, in transactions and bytes; beyond that, [`SubmitError::Busy`].
//!
//! # When things go wrong
//! If the journal cannot be written, the thread ends: everything that waits and comes is answered with
//! [`SubmitError::Stopped`] and the reason, until a restart. Reading goes on. A restart begins with the
//! last durable block.

use std::{
    collections::BTreeMap,
    ops::ControlFlow,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, TrySendError, sync_channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use nabla_ledger::{BlockError, Proposal, Reject, Sequencer, State, SubmitError, Ticket, Wait};
use nabla_types::{
    TxId,
    api::Included,
    cbor,
    chain::{Genesis, TX_BYTES_MAX, Tx},
    signature::NodeKey,
};
use tokio::sync::{oneshot, watch};

use super::journal::{Journal, JournalError};

/// Most transactions that wait.
const WAITING_MAX: usize = 4096;
/// Most bytes of transactions that wait.
const WAITING_BYTES_MAX: usize = 64 << 20;

/// Unix milliseconds, now.
pub type Clock = Box<dyn Fn() -> u64 + Send>;

/// What a validator starts from.
pub struct Setup {
    /// Where the journal is kept.
    pub folder: PathBuf,
    /// The network.
    pub genesis: Genesis,
    /// The validator's key, which the genesis names.
    pub key: NodeKey,
    /// Where the blocks' times come from.
    pub clock: Clock,
}

impl std::fmt::Debug for Setup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Setup").field("folder", &self.folder).field("key", &self.key).finish_non_exhaustive()
    }
}

/// Orders transactions alone, and signs the blocks.
#[derive(Debug)]
pub struct SingleValidator {
    queue: SyncSender<Message>,
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    state: RwLock<State>,
    height: watch::Sender<u64>,
    waiting_bytes: AtomicUsize,
    waiting: AtomicUsize,
    /// Why no more is taken.
    stopped: Mutex<Option<String>>,
}

type Answer = Result<Included, SubmitError>;

#[derive(Debug)]
struct Submission {
    id: TxId,
    tx: Tx,
    size_bytes: usize,
    reply: oneshot::Sender<Answer>,
}

#[derive(Debug)]
enum Message {
    Submit(Box<Submission>),
    /// Look at the clock.
    Wake,
    Stop,
}

impl SingleValidator {
    /// Open the journal, apply what is in it, and begin to take transactions.
    ///
    /// # Errors
    /// [`JournalError`].
    ///
    /// # Panics
    /// If the operating system gives no thread.
    pub fn open(setup: Setup) -> Result<Self, JournalError> {
        let (journal, state) = Journal::open(&setup.folder, setup.genesis)?;
        Ok(Self::start(journal, state, setup.key, setup.clock))
    }

    fn start(journal: Journal, state: State, key: NodeKey, clock: Clock) -> Self {
        let (queue, messages) = sync_channel(WAITING_MAX);
        let shared = Arc::new(Shared {
            height: watch::Sender::new(state.height()),
            state: RwLock::new(state),
            waiting_bytes: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            stopped: Mutex::new(None),
        });
        let (deferred, ended) = (Batch::default(), None);
        let mut worker = Worker { shared: shared.clone(), journal, messages, key, clock, deferred, ended };
        let thread = thread::Builder::new().name("ledger".to_owned()).spawn(move || worker.run());
        let thread = Mutex::new(Some(thread.expect("the operating system gives a thread")));
        Self { queue, shared, thread }
    }

    /// Look at the clock now, and release what has expired. Needed only where the clock does not run by
    /// itself.
    pub fn wake(&self) {
        // A full queue or a stopped thread: there is nothing to wake.
        let _ = self.queue.try_send(Message::Wake);
    }

    /// Finish what waits, answer it, and return when the journal is closed. What comes later is answered
    /// with [`SubmitError::Stopped`].
    pub fn stop(&self) {
        let Some(thread) = lock(&self.thread).take() else {
            return;
        };
        // An error means that the thread has ended already.
        let _ = self.queue.send(Message::Stop);
        let _ = thread.join();
    }
}

impl Drop for SingleValidator {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Sequencer for SingleValidator {
    fn submit(&self, tx: Tx) -> Ticket {
        let size_bytes = cbor::encode(&tx).len();
        if size_bytes > TX_BYTES_MAX {
            return answered(Err(Reject::TooLarge { got: size_bytes }.into()));
        }
        let (reply, answer) = oneshot::channel();
        let submission = Submission { id: tx.id(), tx, size_bytes, reply };
        if let Err(error) = self.shared.enqueue(&self.queue, submission) {
            return answered(Err(error));
        }
        let shared = self.shared.clone();
        Box::pin(async move { answer.await.unwrap_or_else(|_| Err(shared.stopped())) })
    }

    fn state(&self) -> RwLockReadGuard<'_, State> {
        self.shared.read()
    }

    fn wait_for_height(&self, height: u64) -> Wait {
        let (mut heights, shared) = (self.shared.height.subscribe(), self.shared.clone());
        Box::pin(async move {
            match heights.wait_for(|reached| *reached >= height || shared.has_stopped()).await {
                Ok(reached) if *reached >= height => Ok(*reached),
                _ => Err(shared.stopped()),
            }
        })
    }
}

fn answered(answer: Answer) -> Ticket {
    Box::pin(std::future::ready(answer))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn enqueue(&self, queue: &SyncSender<Message>, submission: Submission) -> Result<(), SubmitError> {
        let size = submission.size_bytes;
        let busy = || SubmitError::Busy { waiting: self.waiting.load(Ordering::Relaxed) };
        if self.waiting_bytes.fetch_add(size, Ordering::Relaxed) + size > WAITING_BYTES_MAX {
            self.waiting_bytes.fetch_sub(size, Ordering::Relaxed);
            return Err(busy());
        }
        self.waiting.fetch_add(1, Ordering::Relaxed);
        queue.try_send(Message::Submit(Box::new(submission))).map_err(|error| {
            self.taken(size);
            match error {
                TrySendError::Full(_) => busy(),
                TrySendError::Disconnected(_) => self.stopped(),
            }
        })
    }

    /// A submission has left the queue.
    fn taken(&self, size_bytes: usize) {
        self.waiting_bytes.fetch_sub(size_bytes, Ordering::Relaxed);
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_stopped(&self) -> bool {
        lock(&self.stopped).is_some()
    }

    fn stopped(&self) -> SubmitError {
        let reason = lock(&self.stopped).clone();
        SubmitError::Stopped { reason: reason.unwrap_or_else(|| "the ledger's thread has ended".to_owned()) }
    }
}

/// What the next block is to be made of, each transaction once.
#[derive(Debug, Default)]
struct Batch {
    txs: Vec<Tx>,
    replies: BTreeMap<TxId, Vec<oneshot::Sender<Answer>>>,
}

impl Batch {
    fn add(&mut self, submission: Submission) {
        let replies = self.replies.entry(submission.id).or_default();
        if replies.is_empty() {
            self.txs.push(submission.tx);
        }
        replies.push(submission.reply);
    }

    fn answer(&mut self, id: TxId, answer: &Answer) {
        for reply in self.replies.remove(&id).unwrap_or_default() {
            // Nobody has to wait for an answer.
            let _ = reply.send(answer.clone());
        }
    }
}

/// The thread that makes the blocks.
struct Worker {
    shared: Arc<Shared>,
    journal: Journal,
    messages: Receiver<Message>,
    key: NodeKey,
    clock: Clock,
    /// What found no room in the latest block.
    deferred: Batch,
    /// Why it has ended.
    ended: Option<String>,
}

/// However the thread ends, those who wait learn of it.
impl Drop for Worker {
    fn drop(&mut self) {
        let reason = self.ended.take().unwrap_or_else(|| "its thread has ended unexpectedly".to_owned());
        *lock(&self.shared.stopped) = Some(reason);
        // Wakes those who wait for a height.
        self.shared.height.send_modify(|_| ());
    }
}

impl Worker {
    fn run(&mut self) {
        let mut stopping = false;
        while !(stopping && self.deferred.txs.is_empty()) {
            let mut batch = std::mem::take(&mut self.deferred);
            stopping |= self.gather(&mut batch).is_break();
            if let Err(error) = self.make_block(&mut batch) {
                tracing::error!(%error, "the ledger stops: a block could not be made durable");
                return self.fail(batch, describe(&error));
            }
        }
        self.ended = Some("it was stopped".to_owned());
    }

    /// Answer what is in work: whether it is durable is unknown.
    fn fail(&mut self, mut batch: Batch, reason: String) {
        for id in batch.replies.keys().copied().collect::<Vec<_>>() {
            batch.answer(id, &Err(SubmitError::Stopped { reason: reason.clone() }));
        }
        self.ended = Some(reason);
    }

    /// Wait until there is something to do, then take everything that waits. `Break` when asked to stop.
    fn gather(&self, batch: &mut Batch) -> ControlFlow<()> {
        let mut next = if batch.txs.is_empty() { self.wait() } else { Ok(Message::Wake) };
        loop {
            match next {
                Ok(Message::Submit(submission)) => {
                    self.shared.taken(submission.size_bytes);
                    batch.add(*submission);
                }
                Ok(Message::Wake) => {}
                Ok(Message::Stop) | Err(TryRecvError::Disconnected) => return ControlFlow::Break(()),
                Err(TryRecvError::Empty) => return ControlFlow::Continue(()),
            }
            if batch.txs.len() >= WAITING_MAX {
                return ControlFlow::Continue(());
            }
            next = self.messages.try_recv();
        }
    }

    /// The next message, or `Empty` when a reserved payment expires before one comes.
    fn wait(&self) -> Result<Message, TryRecvError> {
        let Some(expires_ms) = self.shared.read().next_expiry_ms() else {
            return self.messages.recv().map_err(|_| TryRecvError::Disconnected);
        };
        let pause = Duration::from_millis(expires_ms.saturating_sub((self.clock)()));
        self.messages.recv_timeout(pause).map_err(|error| match error {
            RecvTimeoutError::Timeout => TryRecvError::Empty,
            RecvTimeoutError::Disconnected => TryRecvError::Disconnected,
        })
    }

    fn make_block(&mut self, batch: &mut Batch) -> Result<(), WorkerError> {
        let now_ms = (self.clock)();
        let expired = self.shared.read().next_expiry_ms().is_some_and(|expires_ms| expires_ms <= now_ms);
        if batch.txs.is_empty() && !expired {
            return Ok(());
        }
        let txs = std::mem::take(&mut batch.txs);
        let mut proposal = self.shared.read().propose(txs, now_ms)?;
        for (id, reject) in std::mem::take(&mut proposal.rejected) {
            batch.answer(id, &refused(id, reject));
        }
        for tx in std::mem::take(&mut proposal.deferred) {
            let id = tx.id();
            self.deferred.replies.insert(id, batch.replies.remove(&id).unwrap_or_default());
            self.deferred.txs.push(tx);
        }
        match proposal.accepted.is_empty() && !expired {
            true => Ok(()),
            false => self.write(proposal, batch),
        }
    }

    fn write(&mut self, proposal: Proposal, batch: &mut Batch) -> Result<(), WorkerError> {
        let height = proposal.header.height;
        let sealed = proposal.seal(&self.key);
        self.journal.append(&sealed.block)?;
        self.shared.state.write().unwrap_or_else(PoisonError::into_inner).commit(sealed.changes)?;
        self.shared.height.send_replace(height);
        for tx in batch.replies.keys().copied().collect::<Vec<_>>() {
            batch.answer(tx, &Ok(Included { tx, height }));
        }
        tracing::debug!(height, transactions = sealed.block.txs.len(), "block");
        Ok(())
    }
}

/// A transaction that stands in an earlier block is no error for who submits it again.
fn refused(id: TxId, reject: Reject) -> Answer {
    match reject {
        Reject::Included { height, .. } => Ok(Included { tx: id, height }),
        reject => Err(reject.into()),
    }
}

#[derive(Debug, thiserror::Error)]
enum WorkerError {
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Block(Box<BlockError>),
}

impl From<BlockError> for WorkerError {
    fn from(error: BlockError) -> Self {
        Self::Block(Box::new(error))
    }
}

/// An error and what is behind it, on one line.
fn describe(error: &WorkerError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// The ledger tests' small network, with its keys.
#[cfg(test)]
#[path = "../../../nabla-ledger/tests/ledger/world.rs"]
#[expect(dead_code, reason = "the ledger's own tests use the rest")]
pub(super) mod world;

#[cfg(test)]
mod tests;
