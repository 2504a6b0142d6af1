//! Why a rollout document is not used.

use crate::document::{BYTES_MAX, RELEASES_MAX, WAVES_MAX};
use coracle_format::version::Version;
use coracle_trust::Fault;

/// Why a rollout document is not used, or not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RolloutFault {
    /// It is larger than its limit.
    #[error("the rollout document is larger than {BYTES_MAX} bytes")]
    TooLarge,
    /// It is not JSON as metadata allows it.
    #[error("the rollout document cannot be read: {0}")]
    Json(Fault),
    /// It is of a format that this program does not know.
    #[error("the rollout document is of another format than this program knows")]
    Format,
    /// A field is missing, or its value is not allowed.
    #[error("field {0:?} of the rollout document is missing or wrong")]
    Field(&'static str),
    /// More releases than allowed.
    #[error("the rollout document has more than {RELEASES_MAX} releases")]
    TooManyReleases,
    /// The releases do not stand in the order of their versions, or one stands twice.
    #[error("release {0} does not follow an older one in the rollout document")]
    Order(Version),
    /// More waves than allowed.
    #[error("release {0} has more than {WAVES_MAX} waves")]
    TooManyWaves(Version),
    /// A share or a start that is not as it must be.
    #[error("the waves of release {0} must grow from 1 to 10000 and start one after the other")]
    Waves(Version),
    /// What machines should go to instead is not in the document.
    #[error(
        "release {withdrawn} is replaced by {instead}, which the rollout document does not list as a release to take"
    )]
    Instead {
        /// The release that is withdrawn.
        withdrawn: Version,
        /// What is named instead.
        instead: Version,
    },
}
