"""A function for Azure Functions (Python, programming model v2) that reads from the API.

Its settings are EVERGRANT_REGION, EVERGRANT_CLIENT_ID and EVERGRANT_CLIENT_SECRET, or those of another provider.
"""

import azure.functions as func
import requests
from evergrant import RequestsAuth, TokenSource, verdict_of

# Made once for a worker process, used by all its invocations and threads.
source = TokenSource.from_env(timeout=5)
app = func.FunctionApp(http_auth_level=func.AuthLevel.FUNCTION)


@app.route(route="users")
def users(req: func.HttpRequest) -> func.HttpResponse:
    parameters = {"pageSize": req.params.get("pageSize", "25")}
    answer = requests.get(f"{source.upstream}/api/v2/users", parameters, auth=RequestsAuth(source), timeout=5)
    if not answer.ok:
        return func.HttpResponse(f"the API answered {answer.status_code}: {verdict_of(answer)}", status_code=502)
    return func.HttpResponse(answer.content, mimetype="application/json")
