//! `evergrant ready`: can the running gateway serve?
//!
//! For whoever must not start before it can, and for whoever looks after a container: its image holds no other program
//! that could ask. It asks `/readyz` of the admin listener, which is open to every user, and with `--wait` asks again
//! until the answer is yes or the time is over. A gateway that is not there yet is one that is not ready.

use std::time::Duration;

use http::StatusCode;
use tokio::time::{Instant, sleep};

use crate::args::ReadyArgs;
use crate::commands::running::Running;
use crate::exit;
use crate::failure::{Failure, Failures};
use crate::launch;
use crate::settings::layers::Layers;

/// Waits until the gateway is ready, or says why it is not.
pub(crate) fn run(args: &ReadyArgs, layers: &Layers) -> Result<u8, Failures> {
    let running = Running::of(layers)?;
    launch::small_runtime()?.block_on(async {
        let deadline = Instant::now() + args.wait.to_duration();
        loop {
            match ask(&running).await {
                Err(_) if Instant::now() < deadline => sleep(PAUSE).await,
                answer => return answer,
            }
        }
    })?;
    Ok(exit::OK)
}

async fn ask(running: &Running) -> Result<(), Failure> {
    let (status, body) = running.get("/readyz").await?;
    let said = String::from_utf8_lossy(&body);
    match (status, said.trim()) {
        (StatusCode::OK, "ready") => Ok(()),
        (StatusCode::SERVICE_UNAVAILABLE, cause @ ("no usable token" | "draining")) => {
            Err(Failure::new(exit::FAILED, "the gateway is not ready")
                .at(running.address())
                .because(cause)
                .hint("its log and its status page say more"))
        }
        _ => Err(running.is_none("its answer is none of a gateway's")),
    }
}

const PAUSE: Duration = Duration::from_millis(100);
