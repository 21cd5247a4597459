//! What the local UI reads of samples: the names of their columns.

use super::Tables;
use crate::{
    samples,
    shadow::Shadow,
    store::{StoreError, StoreHandle},
};
use std::collections::HashMap;
use unifyit_protocol::ids::DeviceId;

impl StoreHandle {
    /// The series tables that the newest samples refer to.
    ///
    /// # Errors
    /// [`StoreError`] when the file fails.
    pub async fn newest_tables(
        &self,
        shadows: &HashMap<DeviceId, Shadow>,
    ) -> Result<Tables, StoreError> {
        let wanted: Vec<_> = shadows
            .iter()
            .filter_map(|(device, shadow)| Some((*device, shadow.newest.as_ref()?.table)))
            .collect();
        self.read(move |tx| {
            let mut named = Tables::new();
            for (device, hash) in wanted {
                if let Some(table) = samples::series(tx, device, hash)? {
                    named.insert((device, hash), table);
                }
            }
            Ok(named)
        })
        .await
    }
}
