//! What has come up so far: the facts services are told, and when the boot is complete. Pure.

use coracle_format::device::DeviceConfig;
use coracle_services::ipc::Message;

/// Which of our services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    /// Containers.
    Containers,
    /// Network.
    Network,
    /// Clock.
    Clock,
    /// Control from outside; only where the configuration names who may.
    Control,
    /// The health gate; only during a trial, and never started twice.
    Gate,
    /// What follows the channel of updates; only where one is configured, and never during a trial.
    Follow,
}

impl Name {
    /// In the order of their start: nothing stands before the containers.
    /// Gate and follower are no part of this: they are added when it is known whether there is a trial.
    pub(super) const ALL: [Self; 4] = [Self::Containers, Self::Network, Self::Clock, Self::Control];

    /// The argument it is started with, and its name in the log.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Containers => "containers",
            Self::Network => "network",
            Self::Clock => "clock",
            Self::Control => "control",
            Self::Gate => "gate",
            Self::Follow => "follow",
        }
    }

    /// Path and name of its program.
    pub(super) const fn program(self) -> (&'static str, &'static str) {
        match self {
            Self::Containers | Self::Network | Self::Clock | Self::Control => {
                ("/usr/bin/coracle-services", "coracle-services")
            }
            Self::Gate | Self::Follow => ("/usr/bin/coracle-update", "coracle-update"),
        }
    }

    /// Whether a machine of this configuration runs it.
    pub(super) fn is_wanted(self, config: &DeviceConfig) -> bool {
        match self {
            Self::Containers | Self::Network | Self::Clock | Self::Gate => true,
            Self::Control => config.control.is_some(),
            Self::Follow => config.update.as_ref().is_some_and(|update| update.channel.is_some()),
        }
    }
}

/// How a one-time job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Job {
    /// It has not ended.
    Open,
    /// It did what it is for.
    Done,
    /// It failed.
    Failed,
}

/// How a service stands in the eyes of the boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Service {
    /// The boot is not complete without it.
    Awaited,
    /// The boot is complete without it.
    NotAwaited,
    /// It said that it is ready.
    Ready,
}

/// What has come up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Progress {
    /// The verified root image.
    pub(super) system: Job,
    /// The state file system.
    pub(super) state: Job,
    /// Drivers of the devices there were at the start.
    pub(super) drivers: Job,
    /// Whether the running release is known to be committed.
    pub(super) committed: bool,
    containers: Service,
    network: Service,
    told: bool,
}

impl Progress {
    /// Nothing has come up. The network counts only if an interface is configured.
    pub(super) const fn new(network_wanted: bool) -> Self {
        Self {
            system: Job::Open,
            state: Job::Open,
            drivers: Job::Open,
            committed: false,
            containers: Service::Awaited,
            network: if network_wanted { Service::Awaited } else { Service::NotAwaited },
            told: false,
        }
    }

    /// A service is ready. Returns whether that is new.
    pub(super) fn ready(&mut self, name: Name) -> bool {
        let fact = match name {
            Name::Containers => &mut self.containers,
            Name::Network => &mut self.network,
            // A machine without a time server, or that nobody has called yet, is up all the same.
            Name::Clock | Name::Control | Name::Gate | Name::Follow => return true,
        };
        std::mem::replace(fact, Service::Ready) != Service::Ready
    }

    /// Whether a service may start: containers at once, the rest when the root image has been settled, so that on few
    /// processors nothing competes with the first containers.
    pub(super) fn allows(self, name: Name) -> bool {
        name == Name::Containers || self.system != Job::Open
    }

    /// What a service that starts now must be told.
    pub(super) fn facts(self) -> Vec<Message> {
        let system = (self.system == Job::Done).then_some(Message::SystemMounted);
        let state = (self.state == Job::Done).then_some(Message::StateMounted);
        let network = (self.network == Service::Ready).then_some(Message::NetworkUp);
        let committed = self.committed.then_some(Message::Committed);
        system.into_iter().chain(state).chain(network).chain(committed).collect()
    }

    /// Whether everything that was to come up has, for the first time.
    pub(super) fn completes(&mut self) -> bool {
        let complete = self.state != Job::Open
            && self.drivers != Job::Open
            // Without a state file system the containers that need it never have their first start.
            && (self.containers != Service::Awaited || self.state == Job::Failed)
            && self.network != Service::Awaited;
        complete && !std::mem::replace(&mut self.told, true)
    }

    /// What is missing although it is settled, for the line that tells the boot is complete.
    pub(super) const fn shortcoming(self) -> Option<&'static str> {
        match (self.state, self.drivers) {
            (Job::Failed, _) => Some("the machine runs without its state file system"),
            (_, Job::Failed) => Some("a driver could not be loaded"),
            (_, _) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boot_is_complete_once_when_all_is_up() {
        let mut progress = Progress::new(true);
        progress.state = Job::Done;
        progress.drivers = Job::Done;
        assert!(progress.ready(Name::Containers));
        assert!(!progress.completes());
        assert!(progress.ready(Name::Network));
        assert!(progress.completes());
        assert!(!progress.completes());
    }

    #[test]
    fn containers_start_before_the_root_image_is_there_and_the_rest_after() {
        let mut progress = Progress::new(true);
        assert!(progress.allows(Name::Containers) && !progress.allows(Name::Network));
        progress.system = Job::Done;
        assert!(Name::ALL.into_iter().all(|name| progress.allows(name)));
    }

    #[test]
    fn a_machine_without_interfaces_does_not_wait_for_the_network() {
        let mut progress = Progress::new(false);
        (progress.state, progress.drivers) = (Job::Done, Job::Done);
        assert!(progress.ready(Name::Containers));
        assert!(progress.completes());
    }

    #[test]
    fn a_failed_state_ends_the_boot_with_a_shortcoming_and_is_told_to_nobody() {
        let mut progress = Progress::new(false);
        (progress.state, progress.drivers) = (Job::Failed, Job::Done);
        assert!(progress.completes());
        assert!(progress.shortcoming().is_some());
        assert_eq!(progress.facts(), []);
    }

    #[test]
    fn a_late_service_is_told_what_is_up_already() {
        let mut progress = Progress::new(true);
        progress.system = Job::Done;
        progress.state = Job::Done;
        progress.committed = true;
        progress.ready(Name::Network);
        let all = [Message::SystemMounted, Message::StateMounted, Message::NetworkUp, Message::Committed];
        assert_eq!(progress.facts(), all);
    }
}
