//! Pushes that carry the signature of another: what the store says of them, and what must hold.

use std::collections::BTreeMap;

use privatenumber_contract::{PushId, ReplayView};

use super::World;
use crate::promise::{Promise, Step, Stop, check};
use crate::scenario::Cdr;

impl World<'_> {
    /// The replays of this run that the store lists.
    fn replays(&self) -> Result<Vec<ReplayView>, Stop> {
        let mut replays = self.store.store.replays(1_000)?;
        replays.retain(|replay| self.scenario.applications.iter().any(|known| known.app_key == replay.app_key));
        Ok(replays)
    }

    /// P2: a CDR that can be used may be parked instead of being recorded, if the push that brought it is listed as a replay.
    pub(super) fn is_parked_as_replay(&self, cdr: &Cdr) -> Result<bool, Stop> {
        let Some(call) =
            cdr.call.as_ref().filter(|_| self.scenario.variants.iter().any(|variant| variant.parks_replays))
        else {
            return Ok(false);
        };
        let is_listed = |replay: &ReplayView| replay.parked && replay.call_ids.contains(&call.id);
        Ok(self.is_parked(&cdr.text)? && self.replays()?.iter().any(is_listed))
    }

    /// No retry is called a replay, and every replay is.
    pub(super) fn check_replays(&mut self) -> Step {
        let listed: BTreeMap<PushId, ReplayView> =
            self.replays()?.into_iter().map(|replay| (replay.push_id, replay)).collect();
        self.figures.replays += listed.len() as u64;
        for replay in listed.values() {
            self.check_replay(replay)?;
        }
        // After some days the store forgets.
        if self.store.has_jumped {
            return Ok(());
        }
        let mut unlisted: BTreeMap<usize, (PushId, &Vec<usize>)> = BTreeMap::new();
        for push_id in self.truth.committed.iter().filter(|push_id| !listed.contains_key(push_id)) {
            let known = self.truth.signatures.get(push_id).zip(self.truth.texts.get(push_id));
            let Some((signature, texts)) = known else { continue };
            let (first, first_texts) = *unlisted.entry(*signature).or_insert((*push_id, texts));
            check(Promise::P3Accounted, first_texts == texts, || {
                format!("the pushes {first} and {push_id} share signature {signature}, and neither is called a replay")
            })?;
        }
        Ok(())
    }

    fn check_replay(&self, replay: &ReplayView) -> Step {
        let ReplayView { push_id, first_push_id, parked, .. } = replay;
        let pair = [push_id, first_push_id];
        let [Some(later), Some(first)] = pair.map(|push_id| self.truth.signatures.get(push_id)) else { return Ok(()) };
        let [later_texts, first_texts] = pair.map(|push_id| self.truth.texts.get(push_id));
        check(Promise::P2Kept, later == first && later_texts != first_texts, || {
            format!("push {push_id} is no replay of {first_push_id}, and is called one")
        })?;
        let variant = self.truth.holders.get(push_id).and_then(|root| self.truth.variants.get(root));
        let parks =
            variant.and_then(|variant| self.scenario.variants.get(*variant)).map(|variant| variant.parks_replays);
        check(Promise::P2Kept, parks.is_none_or(|parks| parks == *parked), || {
            format!("the configuration of push {push_id} says of parking replays: {parks:?}; parked: {parked}")
        })
    }
}
