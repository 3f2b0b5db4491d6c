//! A gateway's usual day in half a minute, for a program that counts which ways it goes.
//!
//! Small and large answers, uploads with their copies, few and many connections, a token that lasts and tokens that are
//! renewed all the time. The counts are written when the program ends by itself, so it is asked to.

use std::path::Path;

use crate::Failure;
use crate::peers::{Gateway, Kind, Nginx, load};

/// What is sent, on how many connections, for how long.
const LOADS: [(Kind, u32, u32); 4] =
    [(Kind::Small, 16, 4), (Kind::Small, 128, 4), (Kind::Post, 16, 3), (Kind::Large, 16, 3)];

/// Serves all loads before an nginx, twice.
pub(crate) fn run(program: &Path) -> Result<(), Failure> {
    let upstream = Nginx::upstream()?;
    for gateway in [Gateway::before(program, &upstream)?, Gateway::refreshing(program, &upstream)?] {
        for (kind, connections, secs) in LOADS {
            load(gateway.port, kind, connections, secs)?;
        }
        gateway.process.finish()?;
    }
    Ok(())
}
