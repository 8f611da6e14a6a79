//! The addresses and node ports of services: each is one key in the store, taken and given back in the transaction that
//! writes the service. So two services never have the same, whoever wrote them, and nothing needs repair.
use super::super::Settings;
use super::super::cells::{at, list, number};
use crate::admission::{Admission, Operation};
use crate::error::ApiError;
use crate::resource::Part;
use crate::store::{Change, Guard, Op, Range, Store};
use rkube_api::validate::FieldError;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;

const ADDRESSES: &str = "/registry/ranges/serviceips/";
const PORTS: &str = "/registry/ranges/servicenodeports/";
/// How many random ones are looked at before all that are taken.
const PROBES: u32 = 16;

/// Whether a service has an address of its own, and which; empty if it is still to get one.
fn address(service: &Value) -> Option<&str> {
    let address = at(service, "/spec/clusterIP");
    let has = at(service, "/spec/type") != "ExternalName" && address != "None";
    has.then_some(address)
}

/// Whether its ports are opened on the nodes.
fn on_nodes(service: &Value) -> bool {
    match at(service, "/spec/type") {
        "NodePort" => true,
        "LoadBalancer" => {
            service.pointer("/spec/allocateLoadBalancerNodePorts") != Some(&Value::Bool(false))
        }
        _ => false,
    }
}

/// The node ports that a service has.
fn node_ports(service: &Value) -> BTreeSet<i64> {
    let ports = list(service, "/spec/ports").iter();
    ports
        .map(|port| number(port, "/nodePort"))
        .filter(|port| *port != 0)
        .collect()
}

/// `clusterIP` and `clusterIPs` say the same; the one that was changed wins.
pub(super) fn in_step(service: &mut Value, old: Option<&Value>) {
    let Some(spec) = service.get_mut("spec").and_then(Value::as_object_mut) else {
        return;
    };
    let one = spec
        .get("clusterIP")
        .and_then(Value::as_str)
        .unwrap_or("")
        .to_owned();
    let many = spec
        .get("clusterIPs")
        .and_then(Value::as_array)
        .filter(|all| !all.is_empty());
    let changed = old.is_some_and(|old| {
        at(old, "/spec/clusterIP") != one
            && many.map(Vec::as_slice) == Some(list(old, "/spec/clusterIPs"))
    });
    match (one.as_str(), many) {
        ("", Some(_)) if changed => {
            spec.remove("clusterIPs");
        }
        ("", Some(many)) => {
            let first = many[0].clone();
            spec.insert("clusterIP".to_owned(), first);
        }
        ("", None) => {}
        (_, many) if many.is_none() || changed => {
            spec.insert("clusterIPs".to_owned(), json!([one]));
        }
        _ => {}
    }
}

/// A client that does not say which address and ports a service has means those that it has.
pub(super) fn carry_over(new: &mut Value, old: &Value) {
    if at(new, "/spec/type") == "ExternalName" {
        drop_address(new, old);
    } else if address(new) == Some("") && !at(old, "/spec/clusterIP").is_empty() {
        for field in ["clusterIP", "clusterIPs"] {
            if let Some(value) = old.pointer(&format!("/spec/{field}")) {
                new["spec"][field] = value.clone();
            }
        }
    }
    let outside =
        |service: &Value| matches!(at(service, "/spec/type"), "NodePort" | "LoadBalancer");
    let dropped = [
        ("externalTrafficPolicy", !outside(new)),
        (
            "allocateLoadBalancerNodePorts",
            at(new, "/spec/type") != "LoadBalancer",
        ),
    ];
    for (field, _) in dropped.into_iter().filter(|(_, useless)| *useless) {
        let same = new.pointer(&format!("/spec/{field}")) == old.pointer(&format!("/spec/{field}"));
        if let Some(spec) = new.get_mut("spec").and_then(Value::as_object_mut)
            && same
        {
            spec.remove(field);
        }
    }
    let both = on_nodes(new) && on_nodes(old);
    let gone = !on_nodes(new) && on_nodes(old);
    let ports = new.pointer_mut("/spec/ports").and_then(Value::as_array_mut);
    for port in ports.into_iter().flatten() {
        let before = list(old, "/spec/ports").iter().find(|one| {
            one.get("port") == port.get("port") && one.get("protocol") == port.get("protocol")
        });
        let before = before.map_or(0, |one| number(one, "/nodePort"));
        if both && number(port, "/nodePort") == 0 && before != 0 {
            port["nodePort"] = before.into();
        } else if gone
            && number(port, "/nodePort") == before
            && let Some(map) = port.as_object_mut()
        {
            map.remove("nodePort");
        }
    }
}

/// What a service leaves behind that becomes a mere name for something else.
fn drop_address(new: &mut Value, old: &Value) {
    let same = at(new, "/spec/clusterIP") == at(old, "/spec/clusterIP");
    if let Some(spec) = new.get_mut("spec").and_then(Value::as_object_mut)
        && same
    {
        for field in [
            "clusterIP",
            "clusterIPs",
            "ipFamilies",
            "ipFamilyPolicy",
            "internalTrafficPolicy",
        ] {
            spec.remove(field);
        }
    }
}

/// Takes what the service needs, gives back what it no longer has.
pub(super) async fn admit(
    settings: &Settings,
    admission: &mut Admission<'_>,
) -> Result<(), ApiError> {
    if admission.part != Part::Main {
        return Ok(());
    }
    let mut had = admission.old.map(Held::of).unwrap_or_default();
    let mut has = Held::default();
    if admission.operation == Operation::Delete {
        had = Held::of(admission.object);
    } else {
        let mut round = Round {
            settings,
            store: admission.store,
            had: &had,
            mistakes: Vec::new(),
        };
        round.take_address(admission.object).await?;
        round.take_ports(admission.object).await?;
        if !round.mistakes.is_empty() {
            return Err(ApiError::invalid(
                "",
                "Service",
                admission.name,
                &round.mistakes,
            ));
        }
        has = Held::of(admission.object);
    }
    let owner = format!("{}/{}", admission.namespace, admission.name);
    for key in has.keys().difference(&had.keys()) {
        admission.along.push(Op {
            key: key.as_str().into(),
            guard: Guard::Absent,
            change: Change::Put(owner.clone().into(), None),
        });
    }
    for key in had.keys().difference(&has.keys()) {
        admission.along.push(Op {
            key: key.as_str().into(),
            guard: Guard::Any,
            change: Change::Delete,
        });
    }
    Ok(())
}

/// What a service holds.
#[derive(Debug, Default)]
struct Held {
    address: Option<Ipv4Addr>,
    ports: BTreeSet<i64>,
}

impl Held {
    fn of(service: &Value) -> Held {
        Held {
            address: address(service).and_then(|text| text.parse().ok()),
            ports: node_ports(service),
        }
    }
    fn keys(&self) -> BTreeSet<String> {
        let address = self
            .address
            .iter()
            .map(|address| format!("{ADDRESSES}{address}"));
        let ports = self.ports.iter().map(|port| format!("{PORTS}{port}"));
        address.chain(ports).collect()
    }
}

/// One service on its way to what it needs.
struct Round<'r> {
    settings: &'r Settings,
    store: &'r Arc<dyn Store>,
    had: &'r Held,
    mistakes: Vec<FieldError>,
}

impl Round<'_> {
    async fn take_address(&mut self, service: &mut Value) -> Result<(), ApiError> {
        let net = self.settings.service_net;
        match address(service).map(str::parse::<Ipv4Addr>) {
            None => {}
            Some(Ok(asked)) if self.had.address == Some(asked) => {}
            Some(Ok(asked)) => {
                let refused = |why: &str| {
                    let asked = asked.to_string();
                    let why = format!("failed to allocate IP {asked}: {why}");
                    FieldError::invalid("spec.clusterIPs", json!([asked]), why)
                };
                if !net.contains(asked) {
                    let why = format!(
                        "the provided IP ({asked}) is not in the valid range. The range of valid IPs is {net}"
                    );
                    self.mistakes.push(refused(&why));
                } else if self.taken(&format!("{ADDRESSES}{asked}")).await? {
                    self.mistakes
                        .push(refused("provided IP is already allocated"));
                }
            }
            Some(Err(_)) if at(service, "/spec/clusterIP").is_empty() => {
                // The first addresses are for those who ask for one.
                let kept = (net.size() / 16).clamp(16, 256).min(net.size() / 2).max(1);
                let key = |number: u32| format!("{ADDRESSES}{}", net.nth(number));
                let free = self.free(ADDRESSES, 1..net.size(), kept, &key).await?;
                let Some(number) = free else {
                    let why = "failed to allocate a serviceIP: range is full";
                    return Err(ApiError::internal(why));
                };
                let address = net.nth(number).to_string();
                service["spec"]["clusterIP"] = address.clone().into();
                service["spec"]["clusterIPs"] = json!([address]);
            }
            // Validation tells.
            Some(Err(_)) => {}
        }
        Ok(())
    }

    async fn take_ports(&mut self, service: &mut Value) -> Result<(), ApiError> {
        if !on_nodes(service) {
            return Ok(());
        }
        let range = &self.settings.node_ports;
        let (first, last) = (u32::from(*range.start()), u32::from(*range.end()));
        let mut mine = node_ports(service);
        for (index, port) in list(service, "/spec/ports").iter().enumerate() {
            let asked = number(port, "/nodePort");
            if asked == 0 || self.had.ports.contains(&asked) {
                continue;
            }
            let path = format!("spec.ports[{index}].nodePort");
            if !(i64::from(first)..=i64::from(last)).contains(&asked) {
                let why = format!(
                    "provided port is not in the valid range. The range of valid ports is {first}-{last}"
                );
                self.mistakes.push(FieldError::invalid(path, asked, why));
            } else if self.taken(&format!("{PORTS}{asked}")).await? {
                let why = "provided port is already allocated";
                self.mistakes.push(FieldError::invalid(path, asked, why));
            }
        }
        for index in 0..list(service, "/spec/ports").len() {
            let port = &list(service, "/spec/ports")[index];
            if number(port, "/nodePort") != 0 {
                continue;
            }
            let node_port = match shared(service, index) {
                Some(port) => port,
                None => {
                    let taken_now = mine.clone();
                    let kept = first + ((last - first) / 32).clamp(1, 128);
                    let key = |number: u32| match taken_now.contains(&i64::from(number)) {
                        // Whatever is there for sure: this one is not free.
                        true => String::new(),
                        false => format!("{PORTS}{number}"),
                    };
                    let free = self.free(PORTS, first..last + 1, kept, &key).await?;
                    let Some(number) = free else {
                        let why = "failed to allocate a nodePort: range is full";
                        return Err(ApiError::internal(why));
                    };
                    i64::from(number)
                }
            };
            mine.insert(node_port);
            service["spec"]["ports"][index]["nodePort"] = node_port.into();
        }
        Ok(())
    }

    async fn taken(&self, key: &str) -> Result<bool, ApiError> {
        Ok(key.is_empty() || self.store.get(key).await?.is_some())
    }

    /// A number of the range whose key is not there; one of those before `kept` only if there is no other.
    async fn free(
        &self,
        prefix: &str,
        range: std::ops::Range<u32>,
        kept: u32,
        key: &(dyn Fn(u32) -> String + Sync),
    ) -> Result<Option<u32>, ApiError> {
        let rest = range.end.saturating_sub(kept).max(1);
        for _ in 0..PROBES {
            let number = kept + random() % rest;
            if range.contains(&number) && !self.taken(&key(number)).await? {
                return Ok(Some(number));
            }
        }
        let all = Range {
            prefix: prefix.to_owned(),
            ..Range::default()
        };
        let taken = self.store.list(&all).await?;
        let taken: BTreeSet<&str> = taken.entries.iter().map(|entry| &*entry.key).collect();
        let free = |number: &u32| {
            let key = key(*number);
            !key.is_empty() && !taken.contains(key.as_str())
        };
        let (low, high) = (range.start..kept.min(range.end), kept..range.end);
        Ok(high.chain(low).find(free))
    }
}

/// One port of two protocols has one node port.
fn shared(service: &Value, index: usize) -> Option<i64> {
    let ports = list(service, "/spec/ports");
    let port = &ports[index];
    let same = ports.iter().filter(|other| {
        number(other, "/port") == number(port, "/port")
            && at(other, "/protocol") != at(port, "/protocol")
    });
    same.map(|other| number(other, "/nodePort"))
        .find(|port| *port != 0)
}

fn random() -> u32 {
    let bytes = uuid::Uuid::new_v4().into_bytes();
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}
