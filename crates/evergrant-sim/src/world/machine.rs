//! The client's machine: what its clocks show, and when it stands still.
//!
//! The run's own time line is the provider's. In suspend this machine's boot clock goes on and its programs stop; while
//! a virtual machine is paused, its boot clock stops as well, so that afterwards the provider's clocks have jumped. A boot
//! clock that runs at another rate is the same as a provider whose clock drifts, and is drawn as that.

use evergrant_core::time::{Boot, Now, Span, Wall};

use crate::scenario::LocalEvent;

/// The clocks, and how they differ from the run's time line.
pub(super) struct Machine {
    /// Time that the boot clock did not count.
    paused: Span,
    /// Time in which nothing ran although the boot clock went on.
    slept: Span,
    wall: Wall,
    wall_set: Boot,
    wall_ppm: i64,
    freezes: Vec<(Boot, Boot)>,
}

impl Machine {
    pub(super) fn new(now: Now) -> Self {
        Self {
            paused: Span::ZERO,
            slept: Span::ZERO,
            wall: now.wall,
            wall_set: now.boot,
            wall_ppm: 0,
            freezes: Vec::new(),
        }
    }

    pub(super) fn suffer(&mut self, event: LocalEvent, now: Boot) {
        match event {
            LocalEvent::StepWall(by) => {
                self.set_wall(now);
                self.wall = self.wall + by;
            }
            LocalEvent::SlewWall(ppm) => {
                self.set_wall(now);
                self.wall_ppm = ppm;
            }
            LocalEvent::Suspend(lasts) => {
                self.freezes.push((now, now + lasts));
                self.slept += lasts;
            }
            LocalEvent::PauseVm(lasts) => {
                self.freezes.push((now, now + lasts));
                self.slept += lasts;
                self.paused += lasts;
            }
            LocalEvent::Crash(_) => {}
        }
    }

    pub(super) fn clock(&self, now: Boot) -> Now {
        let boot = now - self.paused;
        let passed = boot - self.wall_set;
        Now { boot, wall: self.wall + passed + passed.scaled(self.wall_ppm, 1_000_000) }
    }

    /// A moment of the boot clock on the run's time line, as things stand now.
    pub(super) fn to_true(&self, local: Boot) -> Boot {
        local + self.paused
    }

    /// Until when the machine stands still, if it does.
    pub(super) fn frozen_until(&self, now: Boot) -> Option<Boot> {
        self.freezes.iter().filter(|(from, until)| *from <= now && now < *until).map(|(_, until)| *until).max()
    }

    /// Has it stood still at some time since then?
    pub(super) fn froze_since(&self, since: Boot) -> bool {
        self.freezes.iter().any(|(_, until)| *until >= since)
    }

    pub(super) fn slept(&self) -> Span {
        self.slept
    }

    fn set_wall(&mut self, now: Boot) {
        let Now { boot, wall } = self.clock(now);
        (self.wall, self.wall_set) = (wall, boot);
    }
}
