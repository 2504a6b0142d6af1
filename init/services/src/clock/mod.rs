//! Sets the clock.
/// Runs the clock service.
pub fn run() -> Result<(), crate::ServiceError> {
    Ok(())
}
