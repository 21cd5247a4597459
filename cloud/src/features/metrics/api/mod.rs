//! Endpoints of measurements.

mod of_device;

#[cfg(test)]
use super::read;
use crate::context::AppState;
use utoipa_axum::{router::OpenApiRouter, routes};

/// All of them.
pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(of_device::get_device_metrics))
}

/// What the endpoint answers, a step a minute.
#[cfg(test)]
pub(in crate::features) async fn measured_for_test(
    tx: &mut crate::db::TenantTx,
    device: &crate::features::devices::store::DeviceRef,
    from_ms: u64,
    to_ms: u64,
) -> super::MetricsBody {
    let query = of_device::MetricsQuery {
        names: None,
        from: Some(from_ms.to_string()),
        to: Some(to_ms.to_string()),
        step: Some(60),
    };
    let answer = async {
        let asked = query.check(to_ms)?;
        let cost = read::weigh(tx, device, &asked).await?;
        read::decode(read::gather(tx, device, asked, &cost).await?, None).await
    };
    match answer.await {
        Ok(body) => body,
        Err(crate::http::Problem { detail, .. }) => unreachable!("{detail}"),
    }
}
