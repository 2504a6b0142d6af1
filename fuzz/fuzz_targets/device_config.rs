#![no_main]

coracle_fuzz::target!("device_config");
