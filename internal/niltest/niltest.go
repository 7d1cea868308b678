// Package niltest calls everything that a package exports with nil in each place, for
// tests. Each of the calls must return an error, and none may panic.
package niltest

import (
	"cmp"
	"context"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"reflect"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
)

// A Package says how to call what a package exports. Run fails if it lacks a function,
// or a type that has methods, so that a new one is not forgotten.
type Package struct {
	// Funcs are the exported functions by their names.
	Funcs map[string]any

	// Receivers makes a working value of each exported type that has methods: a
	// pointer if methods need that.
	Receivers func(t *testing.T) []any

	// Args makes working values for parameters. A parameter takes the first that can
	// be assigned to it. Numbers, texts, structs, maps and slices without such a value
	// are zero.
	Args func(t *testing.T) []any

	// TypedNils are pointers and slices that are nil, to be tried wherever an
	// interface takes them.
	TypedNils []any

	// Optional names the fields, "Manager.Logger", and parameters, "Vectors 0", that
	// may be nil.
	Optional []string

	// Skip has functions and methods that are not called, "Handler.ServeHTTP", and the
	// reason for each.
	Skip map[string]string
}

// Run calls all functions and methods of the package whose source is in the working
// directory.
func Run(t *testing.T, p Package) {
	r := &run{Package: p, t: t}
	r.complete()
	for _, name := range slices.Sorted(maps.Keys(p.Funcs)) {
		f := reflect.ValueOf(p.Funcs[name])
		r.function(name, f.Type(), func() reflect.Value { return f })
	}
	for i, v := range p.Receivers(t) {
		r.receiver(v, func() reflect.Value { return reflect.ValueOf(p.Receivers(t)[i]) })
	}
	if r.calls == 0 {
		t.Error("nothing was called with nil")
	}
	t.Logf("%d calls", r.calls)
}

type run struct {
	Package
	t     *testing.T
	calls int
}

// complete fails the test if Funcs or Receivers lack something that the source exports.
func (r *run) complete() {
	known := make(map[string]bool)
	for name := range r.Funcs {
		known[name] = true
	}
	for _, v := range r.Receivers(r.t) {
		known[elem(reflect.TypeOf(v)).Name()] = true
	}
	dir, err := os.ReadDir(".")
	if err != nil {
		r.t.Fatal(err)
	}
	files := token.NewFileSet()
	for _, entry := range dir {
		if !strings.HasSuffix(entry.Name(), ".go") || strings.HasSuffix(entry.Name(), "_test.go") {
			continue
		}
		file, err := parser.ParseFile(files, entry.Name(), nil, parser.SkipObjectResolution)
		if err != nil {
			r.t.Fatal(err)
		}
		for _, d := range file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || !f.Name.IsExported() {
				continue
			}
			name := f.Name.Name
			if f.Recv != nil {
				name = receiverName(f.Recv.List[0].Type)
			}
			if token.IsExported(name) && !known[name] && r.Skip[name] == "" {
				r.t.Errorf("%s: %s is not among what this test calls: add it", entry.Name(), name)
				known[name] = true
			}
		}
	}
}

func receiverName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return receiverName(e.X)
	case *ast.IndexExpr:
		return receiverName(e.X)
	case *ast.Ident:
		return e.Name
	}
	return ""
}

func elem(t reflect.Type) reflect.Type {
	if t.Kind() == reflect.Pointer {
		return t.Elem()
	}
	return t
}

// receiver calls all methods of a value: with nil for each parameter, on nil, on the
// zero value, and with nil in each field of it.
func (r *run) receiver(v any, fresh func() reflect.Value) {
	typ, name := reflect.TypeOf(v), elem(reflect.TypeOf(v)).Name()
	for m := range typ.NumMethod() {
		method := typ.Method(m)
		full := name + "." + method.Name
		r.function(full, fresh().Method(m).Type(), func() reflect.Value { return fresh().Method(m) })
		if typ.Kind() != reflect.Pointer || r.Skip[full] != "" {
			continue
		}
		f := fresh().Method(m).Type()
		if _, byValue := typ.Elem().MethodByName(method.Name); !byValue && mayFail(f) {
			r.mustFail(full+" on nil", reflect.Zero(typ).Method(m), r.args(f))
		}
		r.call(full+" on the zero value", reflect.New(typ.Elem()).Method(m), r.args(f))
	}
	if elem(typ).Kind() != reflect.Struct {
		return
	}
	r.spoil(elem(typ), name, func(where string, spoil func(reflect.Value), optional bool) {
		failed := optional
		for m := range typ.NumMethod() {
			if full := name + "." + typ.Method(m).Name; r.Skip[full] == "" {
				v := fresh()
				if v.Kind() == reflect.Pointer {
					spoil(v.Elem())
				} else {
					changed := reflect.New(typ).Elem()
					changed.Set(v)
					spoil(changed)
					v = changed
				}
				err, _ := r.call(full+" with "+where, v.Method(m), r.args(v.Method(m).Type()))
				failed = failed || err != nil
			}
		}
		if !failed {
			r.t.Errorf("%s: no method returns an error", where)
		}
	})
}

// function calls a function with nil for each of its parameters.
func (r *run) function(name string, typ reflect.Type, f func() reflect.Value) {
	if r.Skip[name] != "" {
		return
	}
	for i := range typ.NumIn() {
		in := typ.In(i)
		if in == reflect.TypeFor[context.Context]() {
			continue // a nil Context is an error of the program that tools find
		}
		try := func(where string, spoil func(reflect.Value), optional bool) {
			args := r.args(typ)
			changed := reflect.New(in).Elem()
			changed.Set(args[i])
			spoil(changed)
			args[i] = changed
			if where = fmt.Sprintf("%s with %s", name, where); optional || !mayFail(typ) {
				r.call(where, f(), args)
			} else {
				r.mustFail(where, f(), args)
			}
		}
		what := fmt.Sprintf("%s %d", name, i)
		if in.Kind() == reflect.Struct && in.PkgPath() != "" {
			r.spoil(in, in.Name(), try)
		} else {
			r.spoilValue(what, in, try)
		}
	}
}

// spoil calls try for each way to put nil into an exported field of a struct.
func (r *run) spoil(typ reflect.Type, name string, try func(where string, spoil func(reflect.Value), optional bool)) {
	for _, field := range reflect.VisibleFields(typ) {
		if !field.IsExported() {
			continue
		}
		r.spoilValue(name+"."+field.Name, field.Type, func(where string, spoil func(reflect.Value), optional bool) {
			try(where, func(v reflect.Value) { spoil(v.FieldByIndex(field.Index)) }, optional)
		})
	}
}

// spoilValue calls try for each way to put nil into a value.
func (r *run) spoilValue(what string, typ reflect.Type, try func(where string, spoil func(reflect.Value), optional bool)) {
	optional := slices.Contains(r.Optional, what)
	switch typ.Kind() {
	case reflect.Pointer, reflect.Func:
		try(what+" nil", func(v reflect.Value) { v.SetZero() }, optional)
	case reflect.Interface:
		try(what+" nil", func(v reflect.Value) { v.SetZero() }, optional)
		for _, typed := range r.TypedNils {
			if reflect.TypeOf(typed).AssignableTo(typ) && typ.NumMethod() > 0 {
				try(fmt.Sprintf("%s %T(nil)", what, typed), func(v reflect.Value) { v.Set(reflect.ValueOf(typed)) }, false)
			}
		}
	case reflect.Slice:
		if kind := typ.Elem().Kind(); kind != reflect.Interface && kind != reflect.Slice && kind != reflect.Pointer && kind != reflect.Func {
			return
		}
		r.spoilValue(what+"[0]", typ.Elem(), func(where string, spoil func(reflect.Value), optional bool) {
			try(where, func(v reflect.Value) {
				v.Set(reflect.MakeSlice(typ, 1, 1))
				spoil(v.Index(0))
			}, optional)
		})
		if typ.Elem().Kind() == reflect.Slice {
			try(what+"[0] nil", func(v reflect.Value) { v.Set(reflect.MakeSlice(typ, 1, 1)) }, optional)
		}
	}
}

// args returns working values for the parameters of a function.
func (r *run) args(typ reflect.Type) []reflect.Value {
	given := r.Args(r.t)
	var args []reflect.Value
	for i := range typ.NumIn() {
		in := typ.In(i)
		v := reflect.Zero(in)
		for _, a := range append(given, r.t.Context()) {
			if reflect.TypeOf(a).AssignableTo(in) {
				v = reflect.New(in).Elem()
				v.Set(reflect.ValueOf(a))
				break
			}
		}
		if k := in.Kind(); v.IsZero() && (k == reflect.Interface || k == reflect.Pointer || k == reflect.Func) {
			r.t.Fatalf("Args has no %s", in)
		}
		args = append(args, v)
	}
	return args
}

var errorType = reflect.TypeFor[error]()

// mayFail tells whether a function returns an error, or a sequence that yields errors.
func mayFail(typ reflect.Type) bool {
	if typ.NumOut() == 0 {
		return false
	}
	last := typ.Out(typ.NumOut() - 1)
	return last == errorType || isSeq2(last)
}

func isSeq2(t reflect.Type) bool { return t.CanSeq2() && t.Kind() == reflect.Func }

func (r *run) mustFail(where string, f reflect.Value, args []reflect.Value) {
	if err, panicked := r.call(where, f, args); err == nil && !panicked {
		r.t.Errorf("%s: it returns no error", where)
	}
}

// call calls a function, and returns its error.
func (r *run) call(where string, f reflect.Value, args []reflect.Value) (err error, panicked bool) {
	r.calls++
	defer func() {
		if p := recover(); p != nil {
			panicked = true
			r.t.Errorf("%s: it panics: %v\n%s", where, p, debug.Stack())
		}
	}()
	var out []reflect.Value
	if f.Type().IsVariadic() {
		out = f.CallSlice(args)
	} else {
		out = f.Call(args)
	}
	if !mayFail(f.Type()) {
		return nil, false
	}
	last := out[len(out)-1]
	if isSeq2(last.Type()) {
		for _, v := range last.Seq2() {
			if e, ok := v.Interface().(error); ok {
				err = cmp.Or(err, e)
			}
		}
		return err, false
	}
	err, _ = last.Interface().(error)
	return err, false
}
