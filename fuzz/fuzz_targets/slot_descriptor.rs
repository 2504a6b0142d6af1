#![no_main]

coracle_fuzz::target!("slot_descriptor");
