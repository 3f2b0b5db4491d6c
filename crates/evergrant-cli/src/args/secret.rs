//! The command line of `evergrant secret`.

use clap::{Args, Subcommand};

use crate::settings::flags::Flags;

/// `evergrant secret`.
#[derive(Subcommand, Debug)]
pub(crate) enum SecretCommand {
    /// Put the client secret into the keyring; it is asked for, or read from standard input
    Set(SecretArgs),
    /// Take the client secret out of the keyring
    Forget(SecretArgs),
}

/// What both need.
#[derive(Args, Debug)]
pub(crate) struct SecretArgs {
    /// The secret that is about to take the place of the one in use
    #[arg(long)]
    pub(crate) next: bool,
    /// Print a JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Settings.
    #[command(flatten)]
    pub(crate) flags: Flags,
}

impl SecretCommand {
    /// What was given.
    pub(crate) const fn args(&self) -> &SecretArgs {
        match self {
            Self::Set(args) | Self::Forget(args) => args,
        }
    }

    pub(super) fn flags_mut(&mut self) -> &mut Flags {
        match self {
            Self::Set(args) | Self::Forget(args) => &mut args.flags,
        }
    }
}
