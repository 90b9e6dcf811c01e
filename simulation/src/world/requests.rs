//! What operators and businesses ask of the store: releases, pauses, and registrations of bindings.

use privatenumber_contract::{CallState, Outcome, ParkedReleaseAnswer, ReleaseAnswer, limits, paths};
use serde_json::json;

use super::event::Event;
use super::{World, note};
use crate::mutation::Mutation;
use crate::promise::{Promise, Step, check};
use crate::store::{StoreAnswer, StoreRequest};

/// How long businesses and operators wait until they ask again for what must be, milliseconds.
const ASKS_AGAIN_MS: u64 = 10_000;

/// A request that waits for the store.
#[derive(Clone, Debug)]
pub struct Request {
    method: &'static str,
    path: String,
    body: Vec<u8>,
    asks: Asks,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Asks {
    /// That a binding is registered, by number.
    Binding(usize),
    /// That a business is paused.
    Pause,
    /// That this business resumes.
    Resume(String),
    /// That these calls are released.
    Calls,
    /// That what passes a filter is released.
    Filter,
    /// That a call is made of the parked text of that CDR, by number.
    Parked {
        /// Whose text it is.
        cdr: usize,
        /// The call that is to come of it; `None` where nothing can.
        call_id: Option<String>,
    },
}

impl Request {
    /// As the store gets it.
    pub fn as_sent(&self) -> StoreRequest<'_> {
        StoreRequest { method: self.method, path: &self.path, body: &self.body }
    }

    /// Whether the store reads before it writes, so that nobody can say with what its writing is committed.
    pub fn reads_first(&self) -> bool {
        matches!(self.asks, Asks::Filter | Asks::Parked { .. })
    }
}

impl World<'_> {
    fn ask(&mut self, method: &'static str, path: String, body: Vec<u8>, asks: Asks) {
        self.store.requests.push(Request { method, path, body, asks });
        self.commit_soon();
    }

    /// A business registers a binding after calls of it may have come.
    pub(super) fn binding_comes(&mut self, index: usize) -> Step {
        if self.store.is_down {
            self.after(ASKS_AGAIN_MS, Event::BindingComes(index));
            return Ok(());
        }
        let Some(binding) = self.scenario.bindings.get(index) else { return Ok(()) };
        let (path, body) = (format!("{}/{}", paths::BINDINGS, binding.id), binding.row.to_string());
        note!(self, "binding {index} is registered");
        self.ask("PUT", path, body.into_bytes(), Asks::Binding(index));
        Ok(())
    }

    /// The store went away before it committed the request. The operator learns of it and only resumes a business again; a business
    /// registers again.
    pub(super) fn request_lost(&mut self, request: &Request) {
        match &request.asks {
            Asks::Binding(index) => self.after(ASKS_AGAIN_MS, Event::BindingComes(*index)),
            Asks::Resume(ak) => self.after(ASKS_AGAIN_MS, Event::Resume(ak.clone())),
            _ => {}
        }
    }

    /// An operator pauses a business, and resumes it after a while.
    pub(super) fn pause(&mut self) {
        let index = self.random.index(self.scenario.businesses.len());
        let pause = self.random.pick([1_000, 60_000, 600_000]);
        let Some(business) = self.scenario.businesses.get(index).filter(|_| !self.store.is_down) else { return };
        let ak = business.ak.clone();
        note!(self, "operator: pauses {ak}");
        self.ask("POST", format!("{}/{ak}:pause", paths::BUSINESSES), Vec::new(), Asks::Pause);
        self.after(pause, Event::Resume(ak));
    }

    /// An operator resumes a business.
    pub(super) fn resume(&mut self, ak: String) {
        if self.store.is_down {
            self.after(ASKS_AGAIN_MS, Event::Resume(ak));
            return;
        }
        note!(self, "operator: resumes {ak}");
        self.ask("POST", format!("{}/{ak}:resume", paths::BUSINESSES), Vec::new(), Asks::Resume(ak));
    }

    /// An operator releases calls, some of which cannot be, or what was parked.
    pub(super) fn release(&mut self) -> Step {
        if self.store.is_down {
            return Ok(());
        }
        match self.random.between(0, 2) {
            0 => self.release_calls(),
            1 => {
                self.release_by_filter();
                Ok(())
            }
            _ => self.release_parked(),
        }
    }

    fn release_calls(&mut self) -> Step {
        let all = self.random.chance(500);
        let mut call_ids = self.scenario.call_ids();
        call_ids.retain(|_| all || self.random.chance(300));
        if self.mutates(Mutation::MaybeSentReleased) {
            for call_id in &call_ids {
                let view = self.view(call_id)?;
                if view.is_some_and(|view| matches!(view.outcome, Some(Outcome::MaybeSent { .. }))) {
                    self.truth.released_wrongly.insert(call_id.clone());
                }
            }
        }
        note!(self, "operator: releases {} calls", call_ids.len());
        let body = json!({"callIds": call_ids}).to_string();
        self.ask("POST", paths::CALLS_RELEASE.to_owned(), body.into_bytes(), Asks::Calls);
        Ok(())
    }

    fn release_by_filter(&mut self) {
        let application = self.random.index(self.scenario.applications.len());
        let Some(application) = self.scenario.applications.get(application) else { return };
        let state = if self.random.chance(500) { CallState::NotSent } else { CallState::Skipped };
        let most = self.random.pick([1, limits::RELEASES]);
        let body = json!({"filter": {"state": state, "appKey": application.app_key, "most": most}}).to_string();
        note!(self, "operator: releases calls that are {state:?}");
        self.ask("POST", paths::CALLS_RELEASE.to_owned(), body.into_bytes(), Asks::Filter);
    }

    /// Each of the run's parked CDRs with some luck, read again or corrected.
    fn release_parked(&mut self) -> Step {
        for (cdr, number) in self.parked_cdrs()? {
            if self.random.chance(500) {
                continue;
            }
            let Some(known) = self.scenario.cdrs.get(cdr) else { continue };
            let correction = known.correction.clone().filter(|_| self.random.chance(700));
            let (body, call_id) = match correction {
                Some(correction) => (format!(r#"{{"cdr":{}}}"#, correction.text), Some(correction.call.id)),
                None => ("{}".to_owned(), known.call.as_ref().map(|call| call.id.clone())),
            };
            note!(self, "operator: releases the parked CDR {cdr} as {call_id:?}");
            let path = format!("{}/{number}:release", paths::PARKED);
            self.ask("POST", path, body.into_bytes(), Asks::Parked { cdr, call_id });
        }
        Ok(())
    }

    /// What came of the requests; they are judged all together.
    pub(super) fn requests_committed(&mut self, answered: &[(Request, StoreAnswer)]) -> Step {
        if answered.is_empty() {
            return Ok(());
        }
        self.progressed_at = self.now;
        for (request, answer) in answered {
            self.request_committed(request, answer)?;
        }
        self.look_at_calls()
    }

    fn request_committed(&mut self, request: &Request, answer: &StoreAnswer) -> Step {
        let (status, text) = (answer.status, String::from_utf8_lossy(&answer.body));
        note!(self, "store: a request of others comes to {status}");
        let is_good = (200..300).contains(&status);
        match &request.asks {
            Asks::Binding(index) => {
                check(Promise::P2Kept, is_good, || format!("binding {index} is refused: {text}"))?;
                let id = self.scenario.bindings.get(*index).map(|binding| binding.id.clone());
                self.truth.bound.extend(id);
            }
            Asks::Pause | Asks::Resume(_) => {
                check(Promise::P8Finished, is_good, || format!("a business is not paused or resumed: {text}"))?;
            }
            Asks::Calls | Asks::Filter => {
                check(Promise::P8Finished, is_good, || format!("a release is refused as a whole: {text}"))?;
                let read: ReleaseAnswer<'_> = serde_json::from_slice(&answer.body).map_err(anyhow::Error::from)?;
                let is_right = request.asks == Asks::Calls || read.refused.is_empty();
                check(Promise::P8Finished, is_right, || format!("the store finds what it then refuses: {text}"))?;
            }
            Asks::Parked { cdr, call_id: Some(call_id) } => {
                let is_there = self.view(call_id)?.is_some();
                check(Promise::P2Kept, is_there && (is_good || status == 409), || {
                    format!("CDR {cdr} is not released as {call_id}: {status} {text}")
                })?;
                if is_good {
                    let read: ParkedReleaseAnswer =
                        serde_json::from_slice(&answer.body).map_err(anyhow::Error::from)?;
                    self.figures.parked_released += u64::from(!read.already_released);
                }
            }
            Asks::Parked { cdr, call_id: None } => {
                // Released before with a corrected text, it answers what came of that.
                let read = serde_json::from_slice::<ParkedReleaseAnswer>(&answer.body);
                let is_refused = status == 409 || read.is_ok_and(|read| read.already_released);
                check(Promise::P2Kept, is_refused, || {
                    format!("CDR {cdr} cannot be used and comes to {status} {text}")
                })?;
            }
        }
        Ok(())
    }
}
