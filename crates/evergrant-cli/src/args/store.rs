//! The command line of `evergrant store`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::settings::flags::Flags;

/// `evergrant store`.
#[derive(Subcommand, Debug)]
pub(crate) enum StoreCommand {
    /// List the credentials in the store, without their tokens
    List(StoreListArgs),
    /// Show what is kept of one credential, without its tokens
    Show(StoreShowArgs),
    /// Move a credential to another store
    Move(MoveArgs),
    /// Remove a credential and its tokens from the store
    Forget(ForgetArgs),
}

impl StoreCommand {
    /// The settings that were given as flags.
    pub(crate) fn flags(&self) -> &Flags {
        match self {
            Self::List(StoreListArgs { flags, .. })
            | Self::Show(StoreShowArgs { flags, .. })
            | Self::Move(MoveArgs { flags, .. })
            | Self::Forget(ForgetArgs { flags, .. }) => flags,
        }
    }

    pub(super) fn flags_mut(&mut self) -> &mut Flags {
        match self {
            Self::List(StoreListArgs { flags, .. })
            | Self::Show(StoreShowArgs { flags, .. })
            | Self::Move(MoveArgs { flags, .. })
            | Self::Forget(ForgetArgs { flags, .. }) => flags,
        }
    }
}

/// `evergrant store list`.
#[derive(Args, Debug)]
pub(crate) struct StoreListArgs {
    /// Print a JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Settings.
    #[command(flatten)]
    pub(crate) flags: Flags,
}

/// `evergrant store show`.
#[derive(Args, Debug)]
pub(crate) struct StoreShowArgs {
    /// The first digits of its name; if not given, that of these settings, or the only one
    pub(crate) credential: Option<String>,
    /// Print a JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Settings.
    #[command(flatten)]
    pub(crate) flags: Flags,
}

/// `evergrant store move`.
#[derive(Args, Debug)]
pub(crate) struct MoveArgs {
    /// The first digits of its name; if not given, that of these settings, or the only one
    pub(crate) credential: Option<String>,
    /// The store to move it to, written as for --store
    #[arg(long, value_name = "STORE", required_unless_present = "to_file")]
    pub(crate) to: Option<String>,
    /// A file that holds the store to move it to, for a URL with a password; - for standard input
    #[arg(long, value_name = "FILE", conflicts_with = "to")]
    pub(crate) to_file: Option<PathBuf>,
    /// A file that holds the key of that store; if not given, the key of this one; - for standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) to_key_file: Option<PathBuf>,
    /// A file that holds the passphrase of that store, instead of a key; - for standard input
    #[arg(long, value_name = "FILE", conflicts_with = "to_key_file")]
    pub(crate) to_passphrase_file: Option<PathBuf>,
    /// Where the key of that store is kept, as for --store-key-in
    #[arg(long, value_name = "PLACE", conflicts_with_all = ["to_key_file", "to_passphrase_file"])]
    pub(crate) to_key_in: Option<String>,
    /// Replace what that store holds of the credential, even if it is newer or another login
    #[arg(long)]
    pub(crate) replace: bool,
    /// Print a JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Settings.
    #[command(flatten)]
    pub(crate) flags: Flags,
}

/// `evergrant store forget`.
#[derive(Args, Debug)]
pub(crate) struct ForgetArgs {
    /// The first digits of its name
    pub(crate) credential: String,
    /// Print a JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Settings.
    #[command(flatten)]
    pub(crate) flags: Flags,
}
