//! Updates on the device: a pure engine, one executor that knows the order of syncs, and the sources bytes come from.
#![forbid(unsafe_code)]
