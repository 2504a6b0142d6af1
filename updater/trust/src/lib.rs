//! What vouches for an update: TUF 1.0 metadata. Verified on the device and written by the builder with one model.
#![forbid(unsafe_code)]
