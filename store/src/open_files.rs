//! Open files: how many the system allows, and how many connections that leaves room for.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files that are no connections: the database with its log for each of its connections, the runtime's, standard streams.
const OTHERS: u64 = 64;

/// As many connections as `wanted`, or as leave files for everything else. Asks the system to allow what is needed, for most
/// allow a process 1024 files until it asks; where it refuses, that is logged.
pub fn room_for_connections(wanted: usize) -> usize {
    let needed = (wanted as u64).saturating_add(OTHERS);
    let allowed = allow(needed);
    if allowed >= needed {
        return wanted;
    }
    let connections = allowed.saturating_sub(OTHERS).max(1);
    tracing::warn!(
        wanted,
        connections,
        "the system allows {allowed} open files, so there will be fewer connections at a time: raise the hard limit (ulimit -Hn) or \
         lower --connections"
    );
    usize::try_from(connections).unwrap_or(wanted)
}

/// Raises the soft limit to `needed`, as far as the hard one lets it; returns what holds then.
fn allow(needed: u64) -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let now = current.unwrap_or(u64::MAX);
    let possible = maximum.map_or(needed, |maximum| maximum.min(needed));
    if now >= possible {
        return now;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: Some(possible), maximum }) {
        Ok(()) => possible,
        Err(_) => now,
    }
}
