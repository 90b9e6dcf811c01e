//! What operators and accidents do to machines, after any step.

use super::event::Event;
use super::truth::End;
use super::{World, note};
use crate::fault::Fault;
use crate::mutation::Mutation;
use crate::promise::Step;

impl World<'_> {
    /// After every step anything may happen to any machine.
    pub(super) fn strike(&mut self) -> Step {
        if self.strikes(Fault::GatewayKilled) {
            let gateway = self.random.index(self.gateways.len());
            self.kill(gateway);
        }
        if self.strikes(Fault::Reloaded) {
            let gateway = self.random.index(self.gateways.len());
            self.reload(gateway)?;
        }
        if self.strikes(Fault::CallsReleased) {
            self.release()?;
        }
        if self.strikes(Fault::ClockJumped) {
            self.jump();
        }
        self.may_reconcile()?;
        if self.strikes(Fault::StoreDown) {
            let pause = self.random.pick([10, 1_000, 10_000, 60_000, 600_000, 7_200_000]);
            self.store_down();
            self.after(pause, Event::StoreUp);
        }
        if self.strikes(Fault::BatchesRefused) {
            let status = self.random.pick([401, 403, 404, 404, 408, 413, 429]);
            let until = self.now + self.random.pick([10, 1_000, 60_000, 600_000]);
            self.store.refuses_batches = Some((status, until));
            // For longer than that a worker does not believe that the store is a newer one.
            self.store.refuses_works_until = if status == 404 { until.min(self.now + 60_000) } else { until };
        }
        if self.strikes(Fault::BusinessPaused) {
            self.pause();
        }
        if self.strikes(Fault::StoreHangs) {
            self.store.hangs_until = self.now + self.random.pick([1_000, 10_000, 60_000]);
        }
        Ok(())
    }

    fn kill(&mut self, index: usize) {
        let Some(gateway) = self.gateways.get_mut(index) else { return };
        if gateway.serving.is_empty() {
            return;
        }
        gateway.serving.clear();
        note!(self, "gateway {index} dies");
        self.drop_streams(index);
        let roots: Vec<_> = self.roots.iter().filter(|(_, root)| root.gateway == index).map(|(id, _)| *id).collect();
        for id in roots {
            self.roots.remove(&id);
            self.truth.ends.insert(id, End::Killed(self.now));
        }
        let pause = self.random.pick([1, 100, 3_000, 30_000, 120_000]);
        self.after(pause, Event::Restart(index));
    }

    /// New roots serve; the old ones finish what they have.
    fn reload(&mut self, index: usize) -> Step {
        let variant = self.random.index(self.scenario.variants.len());
        let Some(gateway) = self.gateways.get_mut(index) else { return Ok(()) };
        gateway.variant = variant;
        if gateway.serving.is_empty() {
            return Ok(());
        }
        let old = std::mem::take(&mut gateway.serving);
        self.serve(index)?;
        // Streams whose headers have yet to arrive meet the new configuration.
        let unborn: Vec<_> = self
            .streams
            .iter()
            .filter(|(_, stream)| stream.gateway == index && !stream.has_begun)
            .map(|(id, _)| *id)
            .collect();
        for id in unborn {
            let Some(new) = self.current_root(index) else { break };
            let Some(stream) = self.streams.get_mut(&id) else { continue };
            let before = std::mem::replace(&mut stream.root, new);
            if let Some(root) = self.roots.get_mut(&before) {
                root.streams = root.streams.saturating_sub(1);
            }
            if let Some(root) = self.roots.get_mut(&new) {
                root.streams += 1;
            }
        }
        for id in old {
            let is_abandoned = self.roots.get(&id).is_some_and(|root| root.streams == 0);
            if is_abandoned && self.mutates(Mutation::ReloadAbandons) {
                self.roots.remove(&id);
                self.truth.ends.insert(id, End::Drained);
                continue;
            }
            self.drain(id)?;
        }
        Ok(())
    }

    /// The wall clock of one machine is set, forward or back. Clocks that measure time go on as they did.
    fn jump(&mut self) {
        let far: i64 = self.random.pick([1_500, 60_000, 3_600_000, 86_400_000]);
        let by = if self.random.chance(500) { far } else { -far };
        let machine = self.random.index(self.gateways.len() + 1);
        note!(self, "the clock of machine {machine} jumps by {by} ms");
        match self.gateways.get_mut(machine) {
            Some(gateway) => gateway.wall_offset += by,
            None => {
                self.store.wall_offset += by;
                self.store.has_jumped = true;
            }
        }
    }

    /// From here on nothing goes wrong; what is away comes back.
    pub(super) fn faults_end(&mut self) -> Step {
        note!(self, "the faults are over");
        self.faults.end();
        self.progressed_at = self.now;
        self.store.refuses_batches = None;
        self.store.hangs_until = 0;
        for root in self.roots.values() {
            root.host.refusal_rate.set(0);
        }
        self.store_up()?;
        for gateway in 0..self.gateways.len() {
            self.start(gateway)?;
        }
        Ok(())
    }
}
