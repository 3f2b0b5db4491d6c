//! Keeps the secrets in memory out of core dumps and away from debuggers of the same user.
//!
//! A process that is not dumpable leaves no core, and other processes of the same user can neither attach to it nor read
//! its memory or environment through `/proc`. The core size limit is lowered as well, for systems where the first is not
//! possible; only its soft half, so that a child of `exec` gets back what it would have had.

use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};

/// What a child process should find again.
#[derive(Clone, Debug)]
pub(crate) struct Before {
    core: Rlimit,
}

/// Hardens this process. Failing to do so is reported, not fatal: a container may forbid it.
pub(crate) fn process() -> Before {
    let before = Before { core: getrlimit(Resource::Core) };
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::debug!(%error, "cannot forbid core dumps");
    }
    set_core(Rlimit { current: Some(0), maximum: before.core.maximum });
    before
}

impl Before {
    /// Runs `start` with the limits that this process was started with.
    pub(crate) fn restored_for<T>(&self, start: impl FnOnce() -> T) -> T {
        set_core(self.core);
        let started = start();
        set_core(Rlimit { current: Some(0), maximum: self.core.maximum });
        started
    }
}

fn set_core(limit: Rlimit) {
    if let Err(error) = setrlimit(Resource::Core, limit) {
        tracing::debug!(%error, "cannot set the core size limit");
    }
}

#[cfg(test)]
mod tests {
    use rustix::process::dumpable_behavior;

    use super::*;

    #[test]
    fn this_process_leaves_no_core_and_a_child_finds_its_limit_again() {
        let wanted = Rlimit { current: Some(4_096), maximum: getrlimit(Resource::Core).maximum };
        set_core(wanted);
        let before = process();
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
        assert_eq!(getrlimit(Resource::Core).current, Some(0));
        assert_eq!(before.restored_for(|| getrlimit(Resource::Core).current), Some(4_096));
        assert_eq!(getrlimit(Resource::Core).current, Some(0));
        set_dumpable_behavior(DumpableBehavior::Dumpable).unwrap();
    }
}
