//! Database errors in revm's form.

use lockweave_runtime::AccessError;
use revm::database_interface::DBErrorMarker;
use thiserror::Error;

/// An [`AccessError`] in the form that revm passes through its interpreter.
#[derive(Clone, Debug, Error)]
#[error(transparent)]
pub struct DbError(#[from] AccessError);

impl DBErrorMarker for DbError {}

impl From<DbError> for AccessError {
    fn from(error: DbError) -> Self {
        error.0
    }
}
