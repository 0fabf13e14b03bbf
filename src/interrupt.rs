//! Signals that ask to stop: noted when they come, obeyed between two moves.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

/// Which signal has come, if any. Clones share what they know.
#[derive(Clone, Debug, Default)]
pub struct Interrupts(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    signal: AtomicU8,
    came: Notify,
}

impl Interrupts {
    /// Notes SIGINT, SIGTERM and SIGHUP from now on, instead of dying by them. Needs a running Tokio runtime.
    #[cfg(unix)]
    pub fn listen(&self) -> std::io::Result<()> {
        use tokio::signal::unix::{SignalKind, signal};
        for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
            let number = u8::try_from(kind.as_raw_value()).unwrap_or(u8::MAX);
            let mut stream = signal(kind)?;
            let noted = self.clone();
            tokio::spawn(async move {
                while stream.recv().await.is_some() {
                    noted.note(number);
                }
            });
        }
        Ok(())
    }

    /// Notes Ctrl-C from now on. Needs a running Tokio runtime.
    #[cfg(not(unix))]
    pub fn listen(&self) -> std::io::Result<()> {
        let noted = self.clone();
        tokio::spawn(async move {
            while tokio::signal::ctrl_c().await.is_ok() {
                noted.note(2);
            }
        });
        Ok(())
    }

    /// The number of the first signal that came.
    pub fn seen(&self) -> Option<u8> {
        match self.0.signal.load(Ordering::SeqCst) {
            0 => None,
            number => Some(number),
        }
    }

    /// Returns after `wait`, or as soon as a signal has come.
    pub async fn or_after(&self, wait: Duration) {
        let came = self.0.came.notified();
        if self.seen().is_none() {
            let _ = tokio::time::timeout(wait, came).await;
        }
    }

    /// Notes a signal.
    pub fn note(&self, number: u8) {
        let _ = self.0.signal.compare_exchange(0, number, Ordering::SeqCst, Ordering::SeqCst);
        self.0.came.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_signal_ends_a_wait_and_the_first_one_counts() {
        let interrupts = Interrupts::default();
        let before = tokio::time::Instant::now();
        let noted = interrupts.clone();
        tokio::join!(interrupts.or_after(Duration::from_secs(60)), async {
            tokio::task::yield_now().await;
            noted.note(15);
            noted.note(2);
        });
        assert_eq!(interrupts.seen(), Some(15));
        assert_eq!(before.elapsed(), Duration::ZERO);
        interrupts.or_after(Duration::from_secs(60)).await;
        assert_eq!(before.elapsed(), Duration::ZERO, "a signal that came before the wait counts too");
    }
}
