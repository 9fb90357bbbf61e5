package admin

import (
	_ "embed"
	"net/http"
)

// openAPI describes the API for programs (OpenAPI 3.1). A test holds it against
// the routes and the types of the answers, and writes it with -update.
//
//go:embed openapi.json
var openAPI []byte

func description(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Write(openAPI)
}
