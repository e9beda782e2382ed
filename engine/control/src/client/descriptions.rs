//! The client's calls about session descriptions.

use super::types::{ClientError, Id, SdpSection};
use super::{Call, Client, unexpected};
use crate::schema as fb;
use crate::sdp::{self, Fragment, Peer};

fn text(reply: fb::ReplyBodyT) -> Result<String, ClientError> {
    match reply {
        fb::ReplyBodyT::SdpText(text) => Ok(text.sdp),
        _ => Err(unexpected("another reply than SdpText")),
    }
}

impl Client {
    /// What a peer's offer or answer says to a router. Of several codecs of a section that sends the first MIME type of
    /// `preferred_codecs` is taken, else the first of the section.
    pub fn parse_sdp(&self, router: Id, sdp: &str, preferred_codecs: &[&str]) -> Call<Peer> {
        let preferred_codecs = Some(preferred_codecs.iter().map(|mime| (*mime).to_owned()).collect());
        let body = fb::ParseSdpT { sdp: sdp.to_owned(), preferred_codecs };
        self.call(router, fb::RequestBodyT::ParseSdp(Box::new(body)), |reply| match reply {
            fb::ReplyBodyT::SdpParsed(parsed) => Ok(sdp::schema::peer_from(*parsed)?),
            _ => Err(unexpected("another reply than SdpParsed")),
        })
    }

    /// The answer to a peer's offer; sections that are not named are rejected.
    pub fn create_sdp_answer(&self, transport: Id, offer: &str, sections: &[SdpSection], version: u32) -> Call<String> {
        let section = |s: &SdpSection| fb::SdpAnswerSectionT {
            mid: s.mid.clone(),
            producer: s.producer.unwrap_or_default(),
            consumer: s.consumer.unwrap_or_default(),
            open: s.open,
        };
        let body = fb::CreateSdpAnswerT {
            offer: offer.to_owned(),
            sections: Some(sections.iter().map(section).collect()),
            session_version: version,
        };
        self.call(transport, fb::RequestBodyT::CreateSdpAnswer(Box::new(body)), text)
    }

    /// An offer of some of a transport's consumers.
    pub fn create_sdp_offer(&self, transport: Id, consumers: &[Id], version: u32) -> Call<String> {
        let body = fb::CreateSdpOfferT { consumers: Some(consumers.to_vec()), session_version: version };
        self.call(transport, fb::RequestBodyT::CreateSdpOffer(Box::new(body)), text)
    }

    /// What a trickle-ICE fragment says.
    pub fn parse_sdp_fragment(&self, fragment: &str) -> Call<Fragment> {
        let body = fb::ParseSdpFragmentT { fragment: fragment.to_owned() };
        self.call(0, fb::RequestBodyT::ParseSdpFragment(Box::new(body)), |reply| match reply {
            fb::ReplyBodyT::SdpFragmentParsed(parsed) => Ok(sdp::schema::fragment_from(*parsed)),
            _ => Err(unexpected("another reply than SdpFragmentParsed")),
        })
    }

    /// A fragment with a transport's credentials and candidates.
    pub fn create_sdp_fragment(&self, transport: Id, mid: Option<&str>) -> Call<String> {
        let body = fb::CreateSdpFragmentT { mid: mid.map(str::to_owned) };
        self.call(transport, fb::RequestBodyT::CreateSdpFragment(Box::new(body)), text)
    }
}
