//! Waiting for a condition, with a bound and a message and no sleep that hopes; and the figures of a run.

use std::fmt::Display;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

/// How often to look.
#[derive(Clone, Copy)]
pub enum Tick {
    /// For what costs nothing to look at.
    Short,
    /// For what costs a request.
    Long,
}

impl Tick {
    /// Returns after one tick: a receive on a channel that nobody sends to.
    fn pass(self) {
        let (_sender, receiver) = channel::<()>();
        let _ = receiver.recv_timeout(match self {
            Self::Short => Duration::from_millis(2),
            Self::Long => Duration::from_millis(150),
        });
    }
}

/// Returns what `look` finds, or panics with `what` after `bound`.
#[track_caller]
pub fn until_with<T>(bound: Duration, tick: Tick, what: impl Display, look: impl FnMut() -> Option<T>) -> T {
    let Some(found) = within(bound, tick, look) else { panic!("waited {} s in vain for {what}", bound.as_secs()) };
    found
}

/// Returns what `look` finds within `bound`. For what must not panic.
pub fn within<T>(bound: Duration, tick: Tick, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let began = Instant::now();
    loop {
        let found = look();
        if found.is_some() || began.elapsed() >= bound {
            return found;
        }
        tick.pass();
    }
}

/// Prints a figure of a run, for whoever reads the tests' output.
#[expect(clippy::print_stderr, reason = "figures are what some of these tests are run for")]
pub fn figure(text: impl Display) {
    eprintln!("{text}");
}

/// Returns once `holds`, or panics with `what` after `seconds`.
#[track_caller]
pub fn until(seconds: u64, what: impl Display, mut holds: impl FnMut() -> bool) {
    until_with(Duration::from_secs(seconds), Tick::Long, what, || holds().then_some(()));
}
