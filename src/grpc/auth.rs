//! Who calls: the key is looked up before a method runs.

use std::sync::Arc;

use tonic::{Request, Status};

use crate::access::{Access, Caller, Scope};
use crate::error::Error;

/// Looks the key of every request up.
#[derive(Debug, Clone)]
pub struct Authenticate(pub Arc<Access>);

impl tonic::service::Interceptor for Authenticate {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let authorization = request.metadata().get("authorization").map(|value| {
            value.to_str().map_err(|_| Error::Unauthenticated("the `authorization` metadata is not plain ASCII"))
        });
        let caller = self.0.caller(authorization.transpose()?)?;
        request.extensions_mut().insert(caller);
        Ok(request)
    }
}

/// The caller of a request, who may do such things.
///
/// # Errors
/// [`Error::Denied`] without the scope.
pub fn caller<T>(request: &Request<T>, scope: Scope) -> Result<Arc<Caller>, Error> {
    let caller = request.extensions().get::<Arc<Caller>>().cloned();
    // The interceptor stands before every service; a request without its mark came in past it.
    let caller = caller.ok_or(Error::Unauthenticated("the request came in without authentication"))?;
    caller.needs(scope)?;
    Ok(caller)
}
