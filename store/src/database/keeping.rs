/// How long the store keeps what it may forget, and in how many bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keeping {
    /// For how many whole days signatures are remembered, to recognise replays; 0 remembers none.
    pub replay_days: u32,
    /// How many bytes of events are kept; the oldest are dropped first.
    pub event_bytes: u64,
}

impl Default for Keeping {
    fn default() -> Self {
        Self { replay_days: 3, event_bytes: 1 << 30 }
    }
}

/// What a commit dropped to keep within [`Keeping`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// How many events.
    pub events: u64,
}
