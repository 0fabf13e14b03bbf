//! One error for all of the tool: what failed, why, the way out, and the exit code that says how much was changed.

use std::fmt;

/// What an error means for the caller, and with it the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Something failed; nothing was changed. Exit code 1.
    Failed,
    /// The arguments or the files given are wrong. Exit code 2.
    Usage,
    /// Something needs action: what expires soon, who depends on it. Exit code 3.
    ActionNeeded,
    /// Something was changed and the rest waits in a safe phase; the same command continues. Exit code 4.
    Unfinished,
    /// A signal stopped it in a safe state. Exit code 128 plus the signal's number.
    Interrupted(u8),
}

impl Kind {
    /// The process exit code.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Usage => 2,
            Self::ActionNeeded => 3,
            Self::Unfinished => 4,
            Self::Interrupted(signal) => 128_u8.saturating_add(signal),
        }
    }
}

/// What went wrong. `Display` is one sentence and never repeats the source.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
    hints: Vec<String>,
}

impl Error {
    /// Something failed before anything was changed.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Kind::Failed, message)
    }

    /// The arguments or the files given are wrong.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }

    /// An error of any kind.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None, hints: Vec::new() }
    }

    /// Adds what caused it.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Adds a way out: a sentence or a command to paste.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// The same error, after something was changed: a failure becomes unfinished work.
    #[must_use]
    pub fn after_changes(mut self) -> Self {
        if self.kind == Kind::Failed {
            self.kind = Kind::Unfinished;
        }
        self
    }

    /// The sentence and its causes, in one line.
    pub fn in_full(&self) -> String {
        let causes = std::iter::successors(std::error::Error::source(self), |cause| cause.source());
        causes.fold(self.message.clone(), |text, cause| format!("{text}: {cause}"))
    }

    /// What it means for the caller.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The ways out.
    pub fn hints(&self) -> &[String] {
        &self.hints
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| &**source as &(dyn std::error::Error + 'static))
    }
}
