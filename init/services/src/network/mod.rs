//! Brings up links and addresses.
/// Runs the network service.
pub fn run() -> Result<(), crate::ServiceError> {
    Ok(())
}
