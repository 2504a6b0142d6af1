//! GUID partition tables (UEFI 2.10, section 5.3).
