package backuphttp

import (
	"bytes"
	"encoding/json"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v5"
	"github.com/stretchr/testify/require"
)

// The tests check the API against openapi.json: every route, and every response of every
// test.

type description struct {
	Paths map[string]map[string]struct {
		Description string
		RequestBody struct {
			Content map[string]json.RawMessage
		}
		Responses map[string]struct {
			Ref     string `json:"$ref"`
			Content map[string]json.RawMessage
		}
	}
}

var openapi = sync.OnceValue(func() (d description) {
	if err := json.Unmarshal(openAPI, &d); err != nil {
		panic(err)
	}
	return d
})

// schemas are compiled when a test needs them.
var schemas = struct {
	sync.Mutex
	compiler *jsonschema.Compiler
	compiled map[string]*jsonschema.Schema
}{compiled: make(map[string]*jsonschema.Schema)}

// schema returns the schema at a JSON Pointer of openapi.json.
func schema(t testing.TB, tokens ...string) *jsonschema.Schema {
	pointer := ""
	for _, token := range tokens {
		pointer += "/" + url.PathEscape(strings.NewReplacer("~", "~0", "/", "~1").Replace(token))
	}
	schemas.Lock()
	defer schemas.Unlock()
	if schemas.compiler == nil {
		schemas.compiler = jsonschema.NewCompiler()
		schemas.compiler.Draft = jsonschema.Draft2020
		schemas.compiler.AssertFormat = true
		require.NoError(t, schemas.compiler.AddResource("mem:///openapi.json", bytes.NewReader(openAPI)))
	}
	if schemas.compiled[pointer] == nil {
		s, err := schemas.compiler.Compile("mem:///openapi.json#" + pointer)
		require.NoError(t, err)
		schemas.compiled[pointer] = s
	}
	return schemas.compiled[pointer]
}

func valid(t testing.TB, s *jsonschema.Schema, text []byte, what string) {
	t.Helper()
	var v any
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	require.NoError(t, d.Decode(&v), "%s: %s", what, text)
	if err := s.Validate(v); err != nil {
		t.Errorf("%s is not what openapi.json describes: %#v\n%s", what, err, text)
	}
}

// templateOf returns the path in openapi.json that fits a request.
func templateOf(path string) string {
	path, _, _ = strings.Cut(path, "?")
	sent := strings.Split(path, "/")
	best := ""
	for template := range openapi().Paths {
		parts := strings.Split(template, "/")
		fits := len(parts) == len(sent)
		for i := 0; fits && i < len(parts); i++ {
			fits = parts[i] == sent[i] || strings.HasPrefix(parts[i], "{") && sent[i] != ""
		}
		if fits && (best == "" || strings.Count(template, "{") < strings.Count(best, "{")) {
			best = template
		}
	}
	return best
}

// described checks a response against openapi.json.
func described(t testing.TB, r *http.Request, resp *http.Response, text []byte) {
	t.Helper()
	_, path, api := strings.Cut(r.URL.EscapedPath(), "/api/")
	if !api || r.Method == http.MethodHead {
		return
	}
	what := r.Method + " " + r.URL.Path + ": " + resp.Status
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	operation, ok := openapi().Paths[templateOf("/api/"+path)][strings.ToLower(r.Method)]
	if !ok {
		require.Equal(t, "application/json", kind, what)
		valid(t, schema(t, "components", "schemas", "Error"), text, what)
		return
	}
	status := strconv.Itoa(resp.StatusCode)
	response, ok := operation.Responses[status]
	if !ok {
		t.Errorf("%s: openapi.json knows only %v", what, slices.Sorted(maps.Keys(operation.Responses)))
		return
	}
	switch {
	case response.Ref != "":
		valid(t, schema(t, "components", "schemas", "Error"), text, what)
	case len(response.Content) == 0:
		require.Empty(t, text, what)
	case response.Content[kind] == nil:
		t.Errorf("%s: %s is not in openapi.json", what, kind)
	case kind == "application/json":
		valid(t, schema(t, "paths", templateOf("/api/"+path), strings.ToLower(r.Method), "responses", status, "content", kind, "schema"), text, what)
	}
}

// describedBody checks a body that a test sends against openapi.json.
func describedBody(t testing.TB, method, path string, text []byte) {
	t.Helper()
	template := templateOf("/api/" + path)
	operation := openapi().Paths[template][strings.ToLower(method)]
	if operation.RequestBody.Content["application/json"] != nil {
		valid(t, schema(t, "paths", template, strings.ToLower(method), "requestBody", "content", "application/json", "schema"), text, "the body of "+method+" "+path)
	}
}

func TestEveryRouteIsDescribedAndEveryDescriptionIsARoute(t *testing.T) {
	h := makeHost(t, nil)
	var routes, described []string
	for _, e := range h.endpoints() {
		routes = append(routes, e.method+" "+e.path)
		operation := openapi().Paths[e.path][strings.ToLower(e.method)]
		require.Contains(t, operation.Description, `"`+string(e.action)+`"`, e.path)
	}
	for path, methods := range openapi().Paths {
		for method, operation := range methods {
			described = append(described, strings.ToUpper(method)+" "+path)
			for status := range operation.Responses {
				_, err := strconv.Atoi(status)
				require.NoError(t, err)
			}
		}
	}
	require.ElementsMatch(t, routes, described)
}

func TestTheCodesOfErrorsAreDescribed(t *testing.T) {
	var d struct {
		Components struct {
			Schemas struct {
				Error struct {
					Properties struct {
						Code struct{ Enum []string }
					}
				}
			}
		}
	}
	require.NoError(t, json.Unmarshal(openAPI, &d))
	for _, k := range kinds {
		require.Contains(t, d.Components.Schemas.Error.Properties.Code.Enum, k.code)
	}
}

func TestTheDescriptionIsServed(t *testing.T) {
	h := newHost(t, nil)
	got := h.get("openapi.json")
	var served, want any
	require.NoError(t, json.Unmarshal([]byte(got.text), &served))
	require.NoError(t, json.Unmarshal(openAPI, &want))
	require.Equal(t, want, served)
}
