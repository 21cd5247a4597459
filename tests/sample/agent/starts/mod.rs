//! Says when the agent started, and says it again to a relay that forgot.

use crate::{
    VERSION,
    clock::now_ms,
    feature::{Feature, Work},
};
use unifyit_protocol::{
    lane::Lane,
    starts::{self, Said, Started},
};

/// Starts, as a feature of the agent.
pub const FEATURE: Feature = Feature { name: "starts", run: |work| Box::pin(run(work)) };

async fn run(work: Work) {
    let mut again = work.asks.again();
    let said = Said::Started(Started { at_ms: now_ms(), version: VERSION.to_owned() });
    loop {
        match said.encode() {
            Ok(body) => {
                if let Err(error) = work.tell(Lane::Urgent, starts::FEATURE, body).await {
                    tracing::warn!(%error, "the start could not be told");
                }
            }
            Err(error) => tracing::error!(%error, "the start cannot be put into words"),
        }
        if again.changed().await.is_err() {
            return;
        }
    }
}
