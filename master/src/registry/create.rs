//! POST: a new object.
use super::Registry;
use super::answer::{Answer, Body};
use super::change::{Again, TRIES, pause};
use super::options::WriteOptions;
use super::target::{Admitted, Target, transaction};
use super::{meta_rules, ownership, stored};
use crate::admission::Operation;
use crate::call::Call;
use crate::error::ApiError;
use crate::meta;
use crate::resource::Part;
use crate::store::{Change, Guard, Op, StoreError};
use http::StatusCode;
use serde_json::Value;

/// How often another name is tried if the made-up one is taken.
const NAMES: usize = 8;
/// Letters of made-up names: no vowels, so no words; nothing that looks like something else
/// (k8s.io/apimachinery, `util/rand`).
const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
const MADE_UP: usize = 5;
/// How much of `generateName` stays, so that the name is no longer than a label may be.
const LONGEST_PREFIX: usize = 63 - MADE_UP;

impl Registry {
    /// Makes the object; for a subresource, does what the body says to it (binding).
    ///
    /// # Errors
    /// 400, 404 for a namespace that is not there, 409 if the name is taken, 422 for what makes no sense.
    pub async fn create(&self, call: &Call, body: Body) -> Result<Answer, ApiError> {
        let options = WriteOptions::of(call, "CreateOptions")?;
        if !call.subresource.is_empty() {
            return self.create_part(call, &options, body).await;
        }
        if call.group.is_empty() && call.resource == "bindings" {
            return self.bind(call, &options, body).await;
        }
        let resource = self.resource_of(call)?;
        let names = resource.names();
        let mut object = body.value;
        meta_rules::identify(names, &mut object)?;
        meta_rules::place(names, &call.namespace, &mut object)?;
        if !matches!(meta::text(&object, "resourceVersion"), "" | "0") {
            return Err(ApiError::bad_request(
                "resourceVersion should not be set on objects to be created",
            ));
        }
        let made_up = meta::name(&object).is_empty();
        let prefix = meta::text(&object, "generateName").to_owned();
        let mut tries = if made_up && !prefix.is_empty() {
            NAMES
        } else {
            0
        };
        let mut answer = loop {
            if tries > 0 {
                let name = made_up_name(&prefix);
                meta::of_mut(&mut object).insert("name".into(), name.into());
            }
            let target = Target::new(self, call, meta::name(&object))?;
            match self.create_named(&target, &options, &object).await {
                Err(err) if tries > 1 && err.reason == "AlreadyExists" => tries -= 1,
                answer => break answer?,
            }
        };
        answer.warnings.splice(..0, body.warnings);
        Ok(answer)
    }

    /// 2014's binding: an object of its own by the path, the pod's subresource in truth.
    async fn bind(
        &self,
        call: &Call,
        options: &WriteOptions,
        body: Body,
    ) -> Result<Answer, ApiError> {
        let call = Call {
            resource: "pods".to_owned(),
            subresource: "binding".to_owned(),
            name: meta::name(&body.value).to_owned(),
            ..call.clone()
        };
        self.create_part(&call, options, body).await
    }

    /// POST to a subresource.
    async fn create_part(
        &self,
        call: &Call,
        options: &WriteOptions,
        body: Body,
    ) -> Result<Answer, ApiError> {
        let target = Target::named(self, call)?;
        target.part()?;
        if call.group.is_empty() && call.resource == "pods" && call.subresource == "eviction" {
            return self.evict(&target, options, &body.value).await;
        }
        if !target.projected() {
            return Err(super::target::no_method());
        }
        self.write_projected(&target, options, &mut |_| Ok(body.value.clone()))
            .await
    }

    /// Makes an object whose name is known.
    pub(super) async fn create_named(
        &self,
        target: &Target<'_>,
        options: &WriteOptions,
        object: &Value,
    ) -> Result<Answer, ApiError> {
        for attempt in 0..TRIES {
            pause(attempt).await;
            let mut object = object.clone();
            let along = self.prepare_new(target, options, &mut object).await?;
            if let Ok(answer) = self.store_new(target, options, object, along).await? {
                return Ok(answer);
            }
        }
        Err(target.conflict("what it depends on keeps changing; please try again"))
    }

    /// All that is done to and asked of a new object before it is stored.
    async fn prepare_new(
        &self,
        target: &Target<'_>,
        options: &WriteOptions,
        object: &mut Value,
    ) -> Result<Vec<Op>, ApiError> {
        let resource = target.resource;
        meta::of_mut(object).remove("resourceVersion");
        meta_rules::begin(object);
        resource.default(object);
        resource.prepare_create(object);
        let write = Admitted {
            operation: Operation::Create,
            part: Part::Main,
            object: &mut *object,
            old: None,
            dry_run: options.dry_run,
        };
        let along = self.admit(target, write).await?;
        let mut mistakes = meta_rules::validate(resource.as_ref(), object, None);
        mistakes.extend(resource.validate(object, None, Part::Main));
        if !mistakes.is_empty() {
            return Err(target.invalid(&mistakes));
        }
        ownership::record(target, Part::Main, options, object, None);
        Ok(along)
    }

    async fn store_new(
        &self,
        target: &Target<'_>,
        options: &WriteOptions,
        object: Value,
        along: Vec<Op>,
    ) -> Result<Result<Answer, Again>, ApiError> {
        let warnings = target.resource.warnings(&object);
        let created = |content| Answer {
            status: StatusCode::CREATED,
            content,
            warnings,
        };
        if options.dry_run {
            if self.store.get(&target.key).await?.is_some() {
                return Err(target.already_exists());
            }
            return Ok(Ok(created(super::Content::Encoded(stored::json(&object)))));
        }
        let bytes = target.encode(&object);
        let own = Op {
            key: target.key.clone(),
            guard: Guard::Absent,
            change: Change::Put(bytes.clone(), self.lease(target, None).await?),
        };
        match self.store.commit(transaction(own, along)).await {
            Ok(done) => Ok(Ok(created(target.show(&bytes, done.revision)?))),
            Err(StoreError::Conflict { key, .. }) if key == target.key => {
                Err(target.already_exists())
            }
            Err(StoreError::Conflict { .. }) => Ok(Err(Again)),
            Err(err) => self.refused(target, err),
        }
    }
}

/// A name that begins so, and that nobody has, most likely.
fn made_up_name(prefix: &str) -> String {
    let mut end = prefix.len().min(LONGEST_PREFIX);
    while !prefix.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{}", &prefix[..end], letters())
}

/// Letters that nobody else has, most likely.
pub(crate) fn letters() -> String {
    let random = uuid::Uuid::new_v4();
    // All but six bits of it are random: two bytes are enough for a letter.
    let letters = random.as_bytes().chunks(2).take(MADE_UP).map(|pair| {
        let number = pair
            .iter()
            .fold(0, |sum, byte| sum * 256 + usize::from(*byte));
        char::from(LETTERS[number % LETTERS.len()])
    });
    letters.collect()
}
