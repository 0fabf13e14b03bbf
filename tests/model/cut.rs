//! Where a run comes to grief.

/// What happens to a run at one of its writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// It is killed, as by kill -9: before the write, between the halves of the pair, after it.
    Before,
    BetweenThePair,
    After,
    /// A signal comes while the write is on its way: the run stops before the next move.
    Signal,
    /// The write takes place, and what became of it is not known.
    Lost,
    /// The write is refused to the end (409, 429, 5xx). A half that was made is taken back.
    Refused,
    /// The server is busy, and takes the write after a while (429, 5xx).
    Late,
    /// Somebody else writes the object just before.
    Touched,
}

impl Cut {
    pub const ALL: [Self; 8] = [
        Self::Before,
        Self::BetweenThePair,
        Self::After,
        Self::Signal,
        Self::Lost,
        Self::Refused,
        Self::Late,
        Self::Touched,
    ];

    pub fn kills(self) -> bool {
        matches!(self, Self::Before | Self::BetweenThePair | Self::After)
    }

    pub fn fails(self) -> bool {
        self.kills() || matches!(self, Self::Lost | Self::Refused)
    }
}
