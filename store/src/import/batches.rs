//! How the CDRs of a file are divided into requests.

use std::borrow::Cow;

use privatenumber_contract::{CdrText, ImportRequest, limits};
use serde_json::value::RawValue;

use super::Import;
use super::file::Entry;

/// Most bytes of CDRs in a request; a larger CDR goes alone. A quarter of what a store takes unless it is set otherwise.
const BATCH_BYTES: usize = 1024 * 1024;

/// CDRs that are sent together, each with its line in the file.
pub(super) struct Batch<'e>(Vec<(usize, &'e RawValue)>);

/// The CDRs of `entries` in batches, in their order.
pub(super) fn batches<'e>(entries: &'e [Entry<'_>]) -> impl Iterator<Item = Batch<'e>> {
    let mut cdrs =
        entries.iter().filter_map(|Entry { line, cdr }| Some((*line, cdr.as_ref().ok()?.as_ref()))).peekable();
    std::iter::from_fn(move || {
        let first: (usize, &RawValue) = cdrs.next()?;
        let mut bytes = first.1.get().len();
        let mut batch = vec![first];
        while batch.len() < limits::IMPORT_CDRS
            && let Some(next) = cdrs.next_if(|(_, cdr)| bytes.saturating_add(cdr.get().len()) <= BATCH_BYTES)
        {
            bytes = bytes.saturating_add(next.1.get().len());
            batch.push(next);
        }
        Some(Batch(batch))
    })
}

impl Batch<'_> {
    /// The request that sends it.
    pub(super) fn request<'r>(&'r self, import: &'r Import) -> ImportRequest<'r> {
        ImportRequest {
            app_key: import.app_key.as_deref().map(Cow::Borrowed),
            ak: import.ak.as_deref().map(Cow::Borrowed),
            release: import.release,
            cdrs: self.0.iter().map(|(_, cdr)| CdrText::Json(cdr)).collect(),
        }
    }

    /// The lines of its CDRs.
    pub(super) fn lines(&self) -> impl Iterator<Item = usize> {
        self.0.iter().map(|(line, _)| *line)
    }
}

impl<'e> Batch<'e> {
    /// Its halves, unless it is a single CDR.
    pub(super) fn halves(&self) -> Option<(Batch<'e>, Batch<'e>)> {
        if self.0.len() < 2 {
            return None;
        }
        let (first, second) = self.0.split_at_checked(self.0.len() / 2)?;
        Some((Batch(first.to_vec()), Batch(second.to_vec())))
    }
}
