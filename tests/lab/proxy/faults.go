package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
)

var modes = []string{
	"cut-before", "cut-after", "hold-before", "hold-after", "503-before", "503-after", "409",
}

var errCut = errors.New("cut")

// fault breaks the At-th write (from 1, counted since the fault was set) whose path starts with Path; with Each every
// one of them the first time that it is sent.
type fault struct {
	At    int    `json:"at"`
	Each  bool   `json:"each"`
	Mode  string `json:"mode"`
	Path  string `json:"path,omitempty"`
	Seen  int    `json:"seen"`
	Fired bool   `json:"fired"`

	known map[string]bool
}

// fires says whether it breaks this write.
func (f *fault) fires(request *http.Request, body []byte) bool {
	switch {
	case !strings.HasPrefix(request.URL.Path, f.Path):
		return false
	case f.Each:
		write := request.Method + " " + request.URL.Path + " " + string(body)
		again := f.known[write]
		f.known[write], f.Fired = true, true
		return !again
	case f.Fired:
		return false
	}
	f.Seen++
	f.Fired = f.Seen == f.At
	return f.Fired
}

// entry is one request. Status is 0 where the client got no answer. Mutating requests are those
// that can change an object: no dry run, no access or token review, no upgrade to a stream.
type entry struct {
	Method    string `json:"method"`
	Path      string `json:"path"`
	Status    int    `json:"status"`
	Upstream  int    `json:"upstream_status"`
	UserAgent string `json:"user_agent"`
	Mutating  bool   `json:"mutating"`
	Fault     string `json:"fault,omitempty"`
}

type faults struct {
	next    http.RoundTripper
	mutex   sync.Mutex
	fault   *fault
	release chan struct{}
	log     []*entry
}

func newFaults(next http.RoundTripper) *faults {
	return &faults{next: next, release: make(chan struct{})}
}

// RoundTrip passes a request on, or does to it what the fault says.
func (f *faults) RoundTrip(request *http.Request) (*http.Response, error) {
	if !mutating(request) {
		entry := f.record(request, nil, false)
		response, err := f.next.RoundTrip(request)
		f.answered(entry, response, true)
		return response, err
	}
	var body []byte
	if request.Body != nil {
		var err error
		if body, err = io.ReadAll(request.Body); err != nil {
			return nil, err
		}
		request.Body.Close()
	}
	entry := f.record(request, body, true)
	mode, release := entry.Fault, f.releases()
	switch mode {
	case "cut-before":
		return nil, errCut
	case "hold-before":
		if err := wait(request.Context(), release); err != nil {
			return nil, err
		}
	case "503-before":
		return f.instead(entry, request, http.StatusServiceUnavailable, "ServiceUnavailable"), nil
	case "409":
		return f.instead(entry, request, http.StatusConflict, "Conflict"), nil
	}

	// What was sent is carried through even if the client goes away meanwhile.
	sent := request.Clone(context.WithoutCancel(request.Context()))
	sent.Body = io.NopCloser(bytes.NewReader(body))
	sent.ContentLength = int64(len(body))
	response, err := f.next.RoundTrip(sent)
	if err != nil {
		return nil, err
	}
	answer, err := io.ReadAll(response.Body)
	response.Body.Close()
	if err != nil {
		return nil, err
	}
	response.Body = io.NopCloser(bytes.NewReader(answer))
	f.answered(entry, response, false)

	switch mode {
	case "cut-after":
		return nil, errCut
	case "hold-after":
		if err := wait(request.Context(), release); err != nil {
			return nil, err
		}
	case "503-after":
		return f.instead(entry, request, http.StatusServiceUnavailable, "ServiceUnavailable"), nil
	}
	f.answered(entry, response, true)
	return response, nil
}

func mutating(request *http.Request) bool {
	switch request.Method {
	case http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete:
	default:
		return false
	}
	path := request.URL.Path
	return request.Header.Get("Upgrade") == "" &&
		!request.URL.Query().Has("dryRun") &&
		!strings.HasPrefix(path, "/apis/authorization.k8s.io/") &&
		!strings.HasPrefix(path, "/apis/authentication.k8s.io/")
}

func (f *faults) record(request *http.Request, body []byte, mutating bool) *entry {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	entry := &entry{
		Method: request.Method, Path: request.URL.RequestURI(),
		UserAgent: request.UserAgent(), Mutating: mutating,
	}
	f.log = append(f.log, entry)
	if mutating && f.fault != nil && f.fault.fires(request, body) {
		entry.Fault = f.fault.Mode
	}
	return entry
}

func (f *faults) answered(entry *entry, response *http.Response, passed bool) {
	if response == nil {
		return
	}
	f.mutex.Lock()
	defer f.mutex.Unlock()
	entry.Upstream = response.StatusCode
	if passed {
		entry.Status = response.StatusCode
	}
}

// instead answers in the API server's place, with a Status object as it would send it.
func (f *faults) instead(entry *entry, request *http.Request, code int, reason string) *http.Response {
	f.mutex.Lock()
	entry.Status = code
	f.mutex.Unlock()
	body := fmt.Sprintf(`{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"made by the lab's proxy","reason":%q,"code":%d}`, reason, code)
	return &http.Response{
		StatusCode: code, Status: fmt.Sprintf("%d %s", code, http.StatusText(code)),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header:  http.Header{"Content-Type": {"application/json"}},
		Body:    io.NopCloser(strings.NewReader(body)),
		Request: request, ContentLength: int64(len(body)),
	}
}

func (f *faults) releases() <-chan struct{} {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	return f.release
}

func (f *faults) control() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("PUT /fault", func(w http.ResponseWriter, r *http.Request) {
		var set fault
		if err := json.NewDecoder(r.Body).Decode(&set); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if set.At < 1 || !slices.Contains(modes, set.Mode) {
			http.Error(w, fmt.Sprintf("want at >= 1 and a mode of %v", modes), http.StatusBadRequest)
			return
		}
		set.Seen, set.Fired, set.known = 0, false, map[string]bool{}
		f.locked(func() { f.fault = &set })
	})
	mux.HandleFunc("GET /fault", func(w http.ResponseWriter, _ *http.Request) {
		f.locked(func() { json.NewEncoder(w).Encode(f.fault) })
	})
	mux.HandleFunc("DELETE /fault", func(http.ResponseWriter, *http.Request) {
		f.locked(func() { f.fault = nil })
	})
	mux.HandleFunc("PUT /release", func(http.ResponseWriter, *http.Request) {
		f.locked(func() {
			close(f.release)
			f.release = make(chan struct{})
		})
	})
	mux.HandleFunc("GET /log", func(w http.ResponseWriter, _ *http.Request) {
		f.locked(func() {
			if f.log == nil {
				f.log = []*entry{}
			}
			json.NewEncoder(w).Encode(f.log)
		})
	})
	mux.HandleFunc("DELETE /log", func(http.ResponseWriter, *http.Request) {
		f.locked(func() { f.log = nil })
	})
	return mux
}

func (f *faults) locked(do func()) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	do()
}
