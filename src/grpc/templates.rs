//! TemplateService: catalogues of templates come with the providers that publish one.

use tonic::{Request, Response, Status};

use super::auth;
use crate::access::Scope;
use crate::error::Error;
use crate::proto;
use crate::proto::template_service_server::TemplateService;

/// The service.
#[derive(Debug, Clone, Copy)]
pub struct Templates;

#[tonic::async_trait]
impl TemplateService for Templates {
    async fn list_templates(
        &self,
        request: Request<proto::ListTemplatesRequest>,
    ) -> Result<Response<proto::ListTemplatesResponse>, Status> {
        auth::caller(&request, Scope::Read)?;
        Err(Error::NotImplemented("ListTemplates").into())
    }

    async fn get_template(
        &self,
        request: Request<proto::GetTemplateRequest>,
    ) -> Result<Response<proto::GetTemplateResponse>, Status> {
        auth::caller(&request, Scope::Read)?;
        Err(Error::NotImplemented("GetTemplate").into())
    }

    async fn refresh_templates(
        &self,
        request: Request<proto::RefreshTemplatesRequest>,
    ) -> Result<Response<proto::RefreshTemplatesResponse>, Status> {
        auth::caller(&request, Scope::Read)?;
        Err(Error::NotImplemented("RefreshTemplates").into())
    }
}
