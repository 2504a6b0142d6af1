//! Rules about several values at once. They read the document rather than the types, so that a fault elsewhere in the
//! manifest hides none of them; a value that is not what it should be is passed over, `shape` has reported it.

mod container;
mod machine;
mod tree;
mod update;

use crate::{
    document::Node,
    fault::Collector,
    values::{Bad, Name},
};

/// Reports every rule that `document` breaks.
pub(crate) fn check(document: Node<'_, '_>, faults: &mut Collector<'_>) {
    machine::check(document, faults);
    container::check(document, faults);
    tree::check_machine(document, faults);
    update::check(document, faults);
}

/// A container without a source.
pub(crate) fn no_source(name: &Name) -> Bad {
    Bad::new(format!("container \"{name}\" has no source"))
        .hint("add one of packages = [\"…\"], oci = \"…\" or rootfs = \"…\"")
}

/// A file without contents.
pub(crate) fn no_content() -> Bad {
    Bad::new("the file has neither source nor content")
        .hint("add source = \"…\" (a file to copy) or content = \"…\" (its text)")
}

/// A check without anything to check.
pub(crate) fn no_probe() -> Bad {
    Bad::new("the check says nothing to check")
        .hint("add one of command = [\"…\"], http = \"…\", tcp = \"…\" or file = \"…\"")
}

/// The name of a container for messages, even if it is missing or faulty.
fn called(container: Node<'_, '_>) -> String {
    match container.get("name").and_then(Node::text) {
        Some(name) => format!("container {}", crate::values::quoted(name)),
        None => "the container".to_owned(),
    }
}
