//! Rules about the machine's tables.

use crate::{
    document::Node,
    fault::Collector,
    schema::Flavour,
    values::{Bytes, Ipv4Setting, Ipv6Setting, LinkMatch, Millis, quoted},
};
use coracle_format::layout::ALIGNMENT;
use std::net::Ipv4Addr;

/// The smallest slot a manifest may ask for.
const SLOT_MIN: Bytes = Bytes(64 << 20);
/// The largest slot a manifest may ask for.
const SLOT_MAX: Bytes = Bytes(256 << 30);
/// Watchdog timeouts that the usual hardware can do.
const WATCHDOG: (Millis, Millis) = (Millis(5000), Millis(600_000));
/// How long an ordered stop may take.
const STOP: (Millis, Millis) = (Millis(1000), Millis(3_600_000));

pub(super) fn check(document: Node<'_, '_>, faults: &mut Collector<'_>) {
    check_runtime(document, faults);
    check_kernel(document, faults);
    check_interfaces(document, faults);
    check_slot(document, faults);
    check_times(document, faults);
}

fn check_runtime(document: Node<'_, '_>, faults: &mut Collector<'_>) {
    let Some(node) = document.get("runtime").and_then(|table| table.get("flavour")) else {
        return;
    };
    let flavours = [Flavour::Youki, Flavour::Containerd, Flavour::Docker, Flavour::Podman];
    if let Some(flavour) = flavours.iter().find(|flavour| node.text() == Some(flavour.name())) {
        let message = format!("flavour \"{}\" is not available in this version", flavour.name());
        let hint = "write flavour = \"crun\"".to_owned();
        faults.fault("runtime.flavour", &node.span(), &message, Some(hint));
    }
}

fn check_kernel(document: Node<'_, '_>, faults: &mut Collector<'_>) {
    let Some(kernel) = document.get("kernel") else {
        return;
    };
    match (kernel.get("image"), kernel.get("package"), kernel.get("image_modules")) {
        (Some(image), Some(_), _) => faults.fault(
            "kernel.image",
            &image.span(),
            "the kernel comes from a package or from image, not from both",
            Some("remove package or image".to_owned()),
        ),
        (None, _, Some(modules)) => faults.fault(
            "kernel.image_modules",
            &modules.span(),
            "image_modules belongs to a kernel of your own",
            Some("add image = \"…\", or remove image_modules: a package brings its modules".to_owned()),
        ),
        _ => {}
    }
}

fn check_interfaces(document: Node<'_, '_>, faults: &mut Collector<'_>) {
    let Some(network) = document.get("network") else {
        return;
    };
    let mut seen: Vec<LinkMatch> = Vec::new();
    for (index, interface) in network.list("interface").enumerate() {
        let key = format!("network.interface[{index}]");
        let written = interface.get("match");
        let select = match written {
            Some(node) => node.value(),
            None => Some(LinkMatch::Any),
        };
        if let Some(select) = select {
            if seen.contains(&select) || seen.contains(&LinkMatch::Any) {
                let span = written.map_or_else(|| interface.span(), Node::span);
                let message = "an interface table before this one matches the same links";
                let hint = "the first that matches applies: put the special before the general".to_owned();
                faults.fault(&format!("{key}.match"), &span, message, Some(hint));
            }
            seen.push(select);
        }
        check_ipv4_gateway(&key, interface, faults);
        check_ipv6_gateway(&key, interface, faults);
    }
}

fn check_ipv4_gateway(key: &str, interface: Node<'_, '_>, faults: &mut Collector<'_>) {
    let Some(gateway) = interface.get("ipv4_gateway") else {
        return;
    };
    let key = format!("{key}.ipv4_gateway");
    let setting = interface.get("ipv4").map(Node::value::<Ipv4Setting>);
    match setting {
        Some(Some(Ipv4Setting::Static { address, prefix })) => {
            let mask = u32::MAX.checked_shl(32_u32.saturating_sub(prefix.into())).unwrap_or(0);
            let net = |address: Ipv4Addr| u32::from(address) & mask;
            let Some(hop) = gateway.value::<Ipv4Addr>() else {
                return;
            };
            // A host route (/32) has its gateway outside by design.
            if prefix < 32 && net(hop) != net(address) {
                let message = format!("the gateway {hop} is not in {address}/{prefix}");
                let hint = "check address, prefix length and gateway".to_owned();
                faults.fault(&key, &gateway.span(), &message, Some(hint));
            }
        }
        Some(None) => {}
        None | Some(Some(Ipv4Setting::Off | Ipv4Setting::Dhcp)) => {
            gateway_without_address(&key, gateway, "ipv4 = \"192.0.2.10/24\"", faults);
        }
    }
}

fn check_ipv6_gateway(key: &str, interface: Node<'_, '_>, faults: &mut Collector<'_>) {
    let Some(gateway) = interface.get("ipv6_gateway") else {
        return;
    };
    match interface.get("ipv6").map(Node::value::<Ipv6Setting>) {
        Some(None | Some(Ipv6Setting::Static { .. })) => {}
        None | Some(Some(Ipv6Setting::Off | Ipv6Setting::Slaac)) => {
            let key = format!("{key}.ipv6_gateway");
            gateway_without_address(&key, gateway, "ipv6 = \"2001:db8::10/64\"", faults);
        }
    }
}

fn gateway_without_address(key: &str, gateway: Node<'_, '_>, example: &str, faults: &mut Collector<'_>) {
    let hint = format!("add an address, for example {example}, or remove the gateway");
    let message = "a gateway belongs to a fixed address";
    faults.fault(key, &gateway.span(), message, Some(hint));
}

fn check_slot(document: Node<'_, '_>, faults: &mut Collector<'_>) {
    let Some(node) = document.get("disk").and_then(|table| table.get("slot_size")) else {
        return;
    };
    let Some(size) = node.value::<Bytes>() else {
        return;
    };
    if !(SLOT_MIN..=SLOT_MAX).contains(&size) {
        let message = format!("a slot of {size} is out of range");
        let hint = format!("choose {SLOT_MIN} to {SLOT_MAX}");
        faults.fault("disk.slot_size", &node.span(), &message, Some(hint));
    } else if size.0 % ALIGNMENT != 0 {
        let message = format!("{} is not a whole number of MiB", quoted(node.text().unwrap_or_default()));
        let hint = format!("write \"{} MiB\"", size.0.div_ceil(ALIGNMENT));
        faults.fault("disk.slot_size", &node.span(), &message, Some(hint));
    }
}

fn check_times(document: Node<'_, '_>, faults: &mut Collector<'_>) {
    let Some(system) = document.get("system") else {
        return;
    };
    if let Some(node) = system.get("watchdog")
        && node.value() != Some(Millis(0))
    {
        check_time("system.watchdog", node, WATCHDOG, faults);
    }
    if let Some(node) = system.get("stop_timeout") {
        check_time("system.stop_timeout", node, STOP, faults);
    }
}

/// Reports a time outside `(least, most)`.
pub(super) fn check_time(key: &str, node: Node<'_, '_>, range: (Millis, Millis), faults: &mut Collector<'_>) {
    let Some(time) = node.value::<Millis>() else {
        return;
    };
    if time < range.0 || time > range.1 {
        let message = format!("{time} is out of range");
        let hint = format!("choose {} to {}", range.0, range.1);
        faults.fault(key, &node.span(), &message, Some(hint));
    }
}
