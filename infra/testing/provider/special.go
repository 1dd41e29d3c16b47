package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/terraform-plugin-go/tftypes"
)

// What modules rely on beyond plausible text: values that are worked out from the configuration.
var specialReads = map[string]func(map[string]tftypes.Value) error{"aws_iam_policy_document": readPolicyDocument}

type policy struct {
	Version   string      `json:",omitempty"`
	ID        string      `json:"Id,omitempty"`
	Statement []statement `json:",omitempty"`
}

type statement struct {
	Sid          string `json:",omitempty"`
	Effect       string `json:",omitempty"`
	Action       any    `json:",omitempty"`
	NotAction    any    `json:",omitempty"`
	Resource     any    `json:",omitempty"`
	NotResource  any    `json:",omitempty"`
	Principal    any    `json:",omitempty"`
	NotPrincipal any    `json:",omitempty"`
	Condition    any    `json:",omitempty"`
}

// merge appends another document's statements; one with the Sid of an earlier one takes its place.
func (p *policy) merge(other policy) {
	p.Version = max(p.Version, other.Version)
	if other.ID != "" {
		p.ID = other.ID
	}
	for _, s := range other.Statement {
		i := slices.IndexFunc(p.Statement, func(old statement) bool { return s.Sid != "" && old.Sid == s.Sid })
		if i >= 0 {
			p.Statement[i] = s
		} else {
			p.Statement = append(p.Statement, s)
		}
	}
}

// mergeAll merges a list of documents in JSON.
func (p *policy) mergeAll(list tftypes.Value) error {
	documents, err := texts(list)
	if err != nil {
		return err
	}
	for _, d := range documents {
		if d == "" {
			continue
		}
		var other policy
		if err := json.Unmarshal([]byte(d), &other); err != nil {
			return fmt.Errorf("policy document: %w", err)
		}
		p.merge(other)
	}
	return nil
}

// readPolicyDocument writes the policy that the statements stand for, as IAM wants it.
func readPolicyDocument(fields map[string]tftypes.Value) error {
	var doc policy
	if err := doc.mergeAll(fields["source_policy_documents"]); err != nil {
		return err
	}
	blocks, err := objects(fields["statement"])
	if err != nil {
		return err
	}
	own := policy{Version: text(fields["version"]), ID: text(fields["policy_id"])}
	for _, block := range blocks {
		s, err := newStatement(block)
		if err != nil {
			return err
		}
		own.Statement = append(own.Statement, s)
	}
	doc.merge(own)
	if err := doc.mergeAll(fields["override_policy_documents"]); err != nil {
		return err
	}
	pretty, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		return err
	}
	var minified bytes.Buffer
	if err := json.Compact(&minified, pretty); err != nil {
		return err
	}
	fields["json"] = tftypes.NewValue(tftypes.String, string(pretty))
	fields["minified_json"] = tftypes.NewValue(tftypes.String, minified.String())
	return nil
}

func newStatement(in map[string]tftypes.Value) (s statement, err error) {
	s = statement{Sid: text(in["sid"]), Effect: text(in["effect"])}
	if s.Effect == "" {
		s.Effect = "Allow"
	}
	for name, to := range map[string]*any{
		"actions": &s.Action, "not_actions": &s.NotAction, "resources": &s.Resource, "not_resources": &s.NotResource,
	} {
		list, err := texts(in[name])
		if err != nil {
			return s, err
		}
		*to = oneOrMany(sorted(list))
	}
	if s.Principal, err = principals(in["principals"]); err != nil {
		return s, err
	}
	if s.NotPrincipal, err = principals(in["not_principals"]); err != nil {
		return s, err
	}
	s.Condition, err = conditions(in["condition"])
	return s, err
}

func principals(blocks tftypes.Value) (any, error) {
	list, err := objects(blocks)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	byType := map[string][]string{}
	for _, in := range list {
		identifiers, err := texts(in["identifiers"])
		if err != nil {
			return nil, err
		}
		byType[text(in["type"])] = append(byType[text(in["type"])], identifiers...)
	}
	if all := byType["*"]; len(byType) == 1 && len(all) == 1 && all[0] == "*" {
		return "*", nil
	}
	out := map[string]any{}
	for typ, identifiers := range byType {
		out[typ] = oneOrMany(sorted(identifiers))
	}
	return out, nil
}

func conditions(blocks tftypes.Value) (any, error) {
	list, err := objects(blocks)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	expected := map[[2]string][]string{}
	for _, in := range list {
		more, err := texts(in["values"])
		if err != nil {
			return nil, err
		}
		key := [2]string{text(in["test"]), text(in["variable"])}
		expected[key] = append(expected[key], more...)
	}
	out := map[string]map[string]any{}
	for key, values := range expected {
		if out[key[0]] == nil {
			out[key[0]] = map[string]any{}
		}
		out[key[0]][key[1]] = oneOrMany(values)
	}
	return out, nil
}

// sorted puts a set's entries in the order that the real provider writes them in: falling.
func sorted(list []string) []string {
	slices.Sort(list)
	slices.Reverse(list)
	return list
}

// oneOrMany is a string for one entry, a list for more, with policy variables (&{NAME} in Terraform) as IAM writes them.
func oneOrMany(list []string) any {
	for i := range list {
		list[i] = strings.ReplaceAll(list[i], "&{", "${")
	}
	switch len(list) {
	case 0:
		return nil
	case 1:
		return list[0]
	}
	return list
}

func texts(v tftypes.Value) ([]string, error) {
	var elements []tftypes.Value
	if err := v.As(&elements); err != nil {
		return nil, err
	}
	var out []string
	for _, e := range elements {
		out = append(out, text(e))
	}
	return out, nil
}

func objects(v tftypes.Value) ([]map[string]tftypes.Value, error) {
	var elements []tftypes.Value
	if err := v.As(&elements); err != nil {
		return nil, err
	}
	out := make([]map[string]tftypes.Value, len(elements))
	for i, e := range elements {
		if err := e.As(&out[i]); err != nil {
			return nil, err
		}
	}
	return out, nil
}
