//! Requests about session descriptions: answered at once, from the text and from what the registry knows.
//!
//! The text is read by [`Text::read`] before the engine is locked, since its length is a peer's choice and others
//! wait for the lock; what is done here is bounded by the sections of a description.

use sfu_core::command::{CommandError, ErrorCode};
use sfu_wire::id::{ObjectId, ObjectKind};

use super::plan::engine;
use super::{Controller, Plan};
use crate::decode::Request;
use crate::ortc::RtpParameters;
use crate::ortc::convert::{invalid, member, path, shown};
use crate::schema as fb;
use crate::sdp::{self, AnswerSection, Description, Fragment, Local, Origin, SdpError};

type Planned = Result<Plan, CommandError>;

/// Entries of a list of preferred codecs.
const MAX_PREFERRED: usize = 32;

/// What the text in a request says.
#[derive(Debug)]
pub(crate) enum Text {
    /// There is none.
    None,
    Description(Result<Description, SdpError>),
    Fragment(Result<Fragment, SdpError>),
}

impl Text {
    fn read(body: &fb::RequestBodyT) -> Self {
        match body {
            fb::RequestBodyT::ParseSdp(body) => Self::Description(Description::parse(&body.sdp)),
            fb::RequestBodyT::CreateSdpAnswer(body) => Self::Description(Description::parse(&body.offer)),
            fb::RequestBodyT::ParseSdpFragment(body) => Self::Fragment(Fragment::parse(&body.fragment)),
            _ => Self::None,
        }
    }

    fn description(self, field: &str) -> Result<Description, CommandError> {
        match self {
            Self::Description(read) => read.map_err(|error| error.in_field(field)),
            Self::None | Self::Fragment(_) => Err(unread(field)),
        }
    }

    fn fragment(self, field: &str) -> Result<Fragment, CommandError> {
        match self {
            Self::Fragment(read) => read.map_err(|error| error.in_field(field)),
            Self::None | Self::Description(_) => Err(unread(field)),
        }
    }
}

/// A text of another kind than the request's: a bug on our side.
fn unread(field: &str) -> CommandError {
    CommandError::new(ErrorCode::Internal, field, "the text was not read")
}

/// A request whose text was read. Made outside the engine's lock.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(super) request: Request,
    pub(super) text: Text,
}

impl From<Request> for Prepared {
    fn from(request: Request) -> Self {
        let text = Text::read(&request.body);
        Self { request, text }
    }
}

fn text(sdp: String) -> Plan {
    Plan::Answer(fb::ReplyBodyT::SdpText(Box::new(fb::SdpTextT { sdp })))
}

impl Controller {
    pub(super) fn parse_sdp(&self, target: u64, body: &fb::ParseSdpT, text: Text) -> Planned {
        const FIELD: &str = "sdp";
        let id = self.object(target, &[ObjectKind::Router])?;
        let router = self.registry.router(id).ok_or_else(|| CommandError::not_found("target", id))?;
        let preferred = body.preferred_codecs.as_deref().unwrap_or_default();
        if preferred.len() > MAX_PREFERRED {
            let text = format!("{} entries; give at most {MAX_PREFERRED}", preferred.len());
            return Err(invalid("preferred_codecs", text));
        }
        let description = text.description(FIELD)?;
        let peer = sdp::read(&description, &router.capabilities, preferred).map_err(|e| e.in_field(FIELD))?;
        Ok(Plan::Answer(fb::ReplyBodyT::SdpParsed(Box::new(sdp::schema::peer_to(&peer)?))))
    }

    pub(super) fn create_sdp_answer(&self, target: u64, body: &fb::CreateSdpAnswerT, read: Text) -> Planned {
        let (transport, router, local) = self.described(target)?;
        let offer = read.description("offer")?;
        let sections = body.sections.as_deref().unwrap_or_default();
        if sections.len() > offer.sections.len() {
            let text = format!("{} entries; the offer has {} sections", sections.len(), offer.sections.len());
            return Err(invalid("sections", text));
        }
        let answered = sections.iter().enumerate();
        let answered = answered.map(|(i, s)| self.answer_section(transport, s, &member("", "sections", i)));
        let answered = answered.collect::<Result<Vec<_>, _>>()?;
        let origin = Origin { session: transport.to_u64(), version: body.session_version };
        sdp::answer(&offer, &router.capabilities, local, origin, &answered).map(text)
    }

    pub(super) fn create_sdp_offer(&self, target: u64, body: &fb::CreateSdpOfferT) -> Planned {
        let (transport, _, local) = self.described(target)?;
        let ids = body.consumers.as_deref().unwrap_or_default();
        if ids.is_empty() || ids.len() > sdp::limits::SECTIONS {
            let text = format!("{} entries; give 1 to {}", ids.len(), sdp::limits::SECTIONS);
            return Err(invalid("consumers", text));
        }
        let mut offered = Vec::with_capacity(ids.len());
        for (i, id) in ids.iter().enumerate() {
            let field = member("", "consumers", i);
            if ids[..i].contains(id) {
                return Err(invalid(field, "is given twice"));
            }
            let parameters = self.consumer_on(transport, *id, &field)?;
            let producer = self.registry.consumer(ObjectId::from_u64(*id)).map(|c| c.producer);
            let kind = producer.and_then(|id| self.registry.producer(id)).map(|p| p.consumable.kind);
            let kind = kind.ok_or_else(|| CommandError::not_found(&field, ObjectId::from_u64(*id)))?;
            offered.push((kind, parameters));
        }
        let origin = Origin { session: transport.to_u64(), version: body.session_version };
        Ok(text(sdp::offer(local, origin, &offered)))
    }

    pub(super) fn parse_sdp_fragment(&self, target: u64, text: Text) -> Planned {
        engine(target)?;
        let fragment = text.fragment("fragment")?;
        Ok(Plan::Answer(fb::ReplyBodyT::SdpFragmentParsed(Box::new(sdp::schema::fragment_to(fragment)))))
    }

    pub(super) fn create_sdp_fragment(&self, target: u64, body: &fb::CreateSdpFragmentT) -> Planned {
        let (_, _, local) = self.described(target)?;
        if let Some(mid) = &body.mid {
            crate::ortc::validate::mid(mid, "mid")?;
        }
        Ok(text(sdp::fragment(local, body.mid.as_deref())))
    }

    /// A WebRTC transport, its router and what descriptions say of it.
    fn described(&self, target: u64) -> Result<(ObjectId, &crate::registry::Router, &Local), CommandError> {
        let id = self.object(target, &[ObjectKind::Transport])?;
        let gone = || CommandError::not_found("target", id);
        let transport = self.registry.transport(id).ok_or_else(gone)?;
        let router = self.registry.router(transport.router).ok_or_else(gone)?;
        let local = transport.local.as_ref();
        let local = local.ok_or_else(|| invalid("target", format!("{id} has no ICE; give a WebRTC transport")))?;
        Ok((id, router, local))
    }

    fn answer_section(
        &self,
        transport: ObjectId,
        section: &fb::SdpAnswerSectionT,
        field: &str,
    ) -> Result<AnswerSection, CommandError> {
        let producer = match section.producer {
            0 => None,
            value => Some(self.producer_on(transport, value, &path(field, "producer"))?),
        };
        let consumer = match section.consumer {
            0 => None,
            value => {
                let field = path(field, "consumer");
                let parameters = self.consumer_on(transport, value, &field)?;
                if parameters.mid.as_ref() != Some(&section.mid) {
                    let mid = parameters.mid.unwrap_or_default();
                    let text = format!("its MID is {}, the section's {}", shown(&mid), shown(&section.mid));
                    return Err(invalid(field, text));
                }
                Some(parameters)
            }
        };
        Ok(AnswerSection { mid: section.mid.clone(), producer, consumer, open: section.open })
    }

    fn producer_on(&self, transport: ObjectId, value: u64, field: &str) -> Result<RtpParameters, CommandError> {
        let id = self.living(value, &[ObjectKind::Producer], field)?;
        let producer = self.registry.producer(id).ok_or_else(|| CommandError::not_found(field, id))?;
        if producer.transport != transport {
            return Err(invalid(field, format!("{id} is on {}; give one on {transport}", producer.transport)));
        }
        Ok(producer.parameters.clone())
    }

    fn consumer_on(&self, transport: ObjectId, value: u64, field: &str) -> Result<RtpParameters, CommandError> {
        let id = self.living(value, &[ObjectKind::Consumer], field)?;
        let consumer = self.registry.consumer(id).ok_or_else(|| CommandError::not_found(field, id))?;
        if consumer.transport != transport {
            return Err(invalid(field, format!("{id} is on {}; give one on {transport}", consumer.transport)));
        }
        Ok(consumer.parameters.clone())
    }
}
