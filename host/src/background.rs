//! Writing that holds nobody up: each destination has a thread of its own, and what it has not taken yet waits in memory, up
//! to a limit.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use crate::stats::Counter;

/// So much waits for a destination at most, in bytes; beyond it what comes is lost, and counted.
const MOST_WAITING: usize = 16 * 1024 * 1024;

/// What waiting costs besides the bytes, so that many short lines come to something.
const OVERHEAD: usize = 64;

/// A destination that has taken nothing for so long is not waited for when the process ends.
const PATIENCE: Duration = Duration::from_secs(1);

/// Where bytes go.
pub trait Destination: Send + 'static {
    /// Writes all of them, however long that takes.
    ///
    /// # Errors
    /// What the system says; the bytes are lost.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Opens the file anew: somebody has moved it.
    fn reopen(&mut self) {}

    /// So many have been lost since it was told last, and there is room again.
    fn lost(&mut self, count: u64);
}

/// What hands bytes over to a destination's thread.
pub struct Background {
    sender: Sender<Message>,
    backlog: Arc<Backlog>,
}

struct Backlog {
    /// What has not been written yet, in bytes.
    waiting: AtomicUsize,
    /// How much was handed over and will never be written.
    lost: AtomicU64,
    /// The same, of all destinations of a kind.
    all_lost: Counter,
}

/// What the thread is told.
enum Message {
    Write(Vec<u8>),
    Reopen,
    /// Drop this when nothing waits any more.
    Flush(Sender<()>),
}

// === impl Background ===

impl Background {
    /// Starts the thread of that name, which ends with this; what is lost is added to `all_lost`.
    ///
    /// # Errors
    /// Where the system gives no thread.
    pub fn start(
        name: &str,
        mut destination: impl Destination,
        all_lost: Counter,
    ) -> io::Result<Self> {
        let (sender, messages) = channel();
        let backlog = Arc::new(Backlog {
            waiting: AtomicUsize::default(),
            lost: AtomicU64::default(),
            all_lost,
        });
        let own = backlog.clone();
        let thread = std::thread::Builder::new().name(name.to_owned());
        thread.spawn(move || work(&messages, &mut destination, &own))?;
        Ok(Self { sender, backlog })
    }

    /// Hands bytes over to be written together; never waits.
    pub fn write(&self, bytes: Vec<u8>) {
        let size = bytes.len() + OVERHEAD;
        let before = self.backlog.waiting.fetch_add(size, Ordering::Relaxed);
        if before + size > MOST_WAITING || self.sender.send(Message::Write(bytes)).is_err() {
            self.backlog.waiting.fetch_sub(size, Ordering::Relaxed);
            self.backlog.lose();
        }
    }

    /// Has the file opened anew, behind what waits.
    pub fn reopen(&self) {
        let _ = self.sender.send(Message::Reopen);
    }

    /// Waits until nothing waits to be written any more, for as long as the destination takes anything.
    pub fn flush(&self) {
        let (done, reached) = channel();
        let _ = self.sender.send(Message::Flush(done));
        let waiting = || self.backlog.waiting.load(Ordering::Relaxed);
        let mut before = waiting();
        while let Err(RecvTimeoutError::Timeout) = reached.recv_timeout(PATIENCE) {
            let now = waiting();
            if now >= before {
                return;
            }
            before = now;
        }
    }
}

// === impl Backlog ===

impl Backlog {
    fn lose(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
        self.all_lost.increment();
    }
}

fn work(messages: &Receiver<Message>, destination: &mut impl Destination, backlog: &Backlog) {
    let mut told = 0;
    let mut flushes = Vec::new();
    for message in messages {
        match message {
            Message::Write(bytes) => {
                let written = destination.write(&bytes);
                let size = bytes.len() + OVERHEAD;
                let left = backlog.waiting.fetch_sub(size, Ordering::Relaxed) - size;
                let lost = backlog.lost.load(Ordering::Relaxed);
                if written.is_err() {
                    backlog.lose();
                } else if lost > told && left <= MOST_WAITING / 2 {
                    destination.lost(lost - told);
                    told = lost;
                }
            }
            Message::Reopen => destination.reopen(),
            Message::Flush(done) => flushes.push(done),
        }
        // What the destination itself has to say, as how much was lost, comes behind a flush.
        if backlog.waiting.load(Ordering::Relaxed) == 0 {
            flushes.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use super::*;

    /// Waits for leave before each write, and tells what it does.
    struct Slow {
        leave: Receiver<()>,
        told: Sender<String>,
    }

    impl Destination for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
            let _ = self.leave.recv();
            let _ = self.told.send(format!("write {}", bytes.len()));
            Ok(())
        }

        fn reopen(&mut self) {
            let _ = self.told.send("reopen".to_owned());
        }

        fn lost(&mut self, count: u64) {
            let _ = self.told.send(format!("lost {count}"));
        }
    }

    #[test]
    fn what_finds_no_room_is_lost_and_told() {
        let ((go, leave), (told, tells)) = (channel(), channel());
        let lost = Counter::default();
        let background = Background::start("slow", Slow { leave, told }, lost.clone()).unwrap();
        let third = MOST_WAITING / 3;
        for _ in 0..5 {
            background.write(vec![0; third - OVERHEAD]);
        }
        background.reopen();
        assert_eq!(lost.get(), 2);
        for _ in 0..3 {
            go.send(()).unwrap();
        }
        background.flush();
        let write = format!("write {}", third - OVERHEAD);
        let expected = [&*write, &*write, "lost 2", &*write, "reopen"];
        assert_eq!(tells.try_iter().collect::<Vec<_>>(), expected);
        background.write(vec![0; 7]);
        go.send(()).unwrap();
        background.flush();
        assert_eq!(tells.try_iter().collect::<Vec<_>>(), ["write 7"]);
    }

    /// Says through the same way how much was lost, as the log does.
    struct Chatty {
        leave: Receiver<()>,
        told: Sender<Vec<u8>>,
        own: Arc<OnceLock<Background>>,
    }

    impl Destination for Chatty {
        fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
            let _ = self.leave.recv();
            let _ = self.told.send(bytes.to_vec());
            Ok(())
        }

        fn lost(&mut self, count: u64) {
            let own = self.own.get().unwrap();
            own.write(format!("lost {count}").into_bytes());
        }
    }

    #[test]
    fn a_flush_waits_for_what_is_said_of_losses() {
        let ((go, leave), (told, tells)) = (channel(), channel());
        let own = Arc::new(OnceLock::new());
        let chatty = Chatty {
            leave,
            told,
            own: own.clone(),
        };
        let background = Background::start("chatty", chatty, Counter::default()).unwrap();
        let background = own.get_or_init(|| background);
        for _ in 0..2 {
            background.write(vec![0; MOST_WAITING - OVERHEAD]);
        }
        std::thread::scope(|scope| {
            let flush = scope.spawn(|| background.flush());
            // One for what waits, one for what is said of the other.
            go.send(()).unwrap();
            go.send(()).unwrap();
            flush.join().unwrap();
        });
        let last = tells.try_iter().last().unwrap();
        assert_eq!(last, b"lost 1");
    }

    #[test]
    fn a_destination_that_takes_nothing_is_not_waited_for() {
        let ((_go, leave), (told, _tells)) = (channel(), channel());
        let background =
            Background::start("stuck", Slow { leave, told }, Counter::default()).unwrap();
        background.write(vec![0; 7]);
        background.flush();
        let waiting = background.backlog.waiting.load(Ordering::Relaxed);
        assert_eq!(waiting, 7 + OVERHEAD);
    }
}
