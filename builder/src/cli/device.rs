//! `coracle device`.

use super::args;
use crate::{context::Context, device, error::Result};

pub(super) fn run(ctx: &Context, args: &args::Device) -> Result<()> {
    let digest = device::pack(ctx, &args.out)?;
    super::print(&format!("{digest}  {}\n", args.out.display()))
}
