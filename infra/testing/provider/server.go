package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"

	"github.com/hashicorp/terraform-plugin-go/tfprotov5"
	"github.com/hashicorp/terraform-plugin-go/tftypes"
)

// server answers Terraform. What the embedded interface leaves nil, Terraform asks only of providers whose schema has
// functions, ephemeral resources, identities or the like; this one's never has.
type server struct {
	tfprotov5.ProviderServer
	provider *provider
	settings map[string]string        // of the provider block, with defaults
	defaults map[string]tftypes.Value // default tags or labels

	mu   sync.Mutex
	seen map[string]uint64 // how often a planned state came to be applied: two equal resources are still two
}

func newServer(p *provider) *server {
	return &server{
		provider: p,
		settings: map[string]string{"region": "eu-central-1", "project": "offline-project"},
		seen:     map[string]uint64{},
	}
}

func (s *server) GetMetadata(context.Context, *tfprotov5.GetMetadataRequest) (*tfprotov5.GetMetadataResponse, error) {
	resp := &tfprotov5.GetMetadataResponse{ServerCapabilities: &tfprotov5.ServerCapabilities{}}
	for name := range s.provider.resources {
		resp.Resources = append(resp.Resources, tfprotov5.ResourceMetadata{TypeName: name})
	}
	for name := range s.provider.data {
		resp.DataSources = append(resp.DataSources, tfprotov5.DataSourceMetadata{TypeName: name})
	}
	return resp, nil
}

func (s *server) GetProviderSchema(context.Context, *tfprotov5.GetProviderSchemaRequest) (*tfprotov5.GetProviderSchemaResponse, error) {
	return &tfprotov5.GetProviderSchemaResponse{
		ServerCapabilities: &tfprotov5.ServerCapabilities{},
		Provider:           s.provider.config,
		ResourceSchemas:    s.provider.resources,
		DataSourceSchemas:  s.provider.data,
	}, nil
}

func (s *server) GetResourceIdentitySchemas(context.Context, *tfprotov5.GetResourceIdentitySchemasRequest) (*tfprotov5.GetResourceIdentitySchemasResponse, error) {
	return &tfprotov5.GetResourceIdentitySchemasResponse{}, nil
}

func (s *server) GetFunctions(context.Context, *tfprotov5.GetFunctionsRequest) (*tfprotov5.GetFunctionsResponse, error) {
	return &tfprotov5.GetFunctionsResponse{}, nil
}

func (s *server) PrepareProviderConfig(_ context.Context, req *tfprotov5.PrepareProviderConfigRequest) (*tfprotov5.PrepareProviderConfigResponse, error) {
	return &tfprotov5.PrepareProviderConfigResponse{PreparedConfig: req.Config}, nil
}

// ConfigureProvider keeps the region or project and the default tags or labels.
func (s *server) ConfigureProvider(_ context.Context, req *tfprotov5.ConfigureProviderRequest) (*tfprotov5.ConfigureProviderResponse, error) {
	config, err := fieldsOf(s.provider.config, req.Config)
	if err != nil {
		return nil, err
	}
	for name := range s.settings {
		if v := text(config[name]); v != "" {
			s.settings[name] = v
		}
	}
	tags := config["default_labels"] // Google's: a map
	if block, ok := config["default_tags"]; ok && block.IsFullyKnown() {
		var blocks []tftypes.Value // AWS's: a block with a map in it
		if err := block.As(&blocks); err != nil {
			return nil, err
		}
		for _, b := range blocks {
			inner := map[string]tftypes.Value{}
			if err := b.As(&inner); err != nil {
				return nil, err
			}
			tags = inner["tags"]
		}
	}
	if tags.Type() != nil && tags.IsKnown() && !tags.IsNull() {
		if err := tags.As(&s.defaults); err != nil {
			return nil, err
		}
	}
	return &tfprotov5.ConfigureProviderResponse{}, nil
}

func (s *server) StopProvider(context.Context, *tfprotov5.StopProviderRequest) (*tfprotov5.StopProviderResponse, error) {
	return &tfprotov5.StopProviderResponse{}, nil
}

func (s *server) ValidateResourceTypeConfig(_ context.Context, req *tfprotov5.ValidateResourceTypeConfigRequest) (*tfprotov5.ValidateResourceTypeConfigResponse, error) {
	diags, err := validateConfig(s.provider.resources[req.TypeName], req.Config)
	return &tfprotov5.ValidateResourceTypeConfigResponse{Diagnostics: diags}, err
}

func (s *server) ValidateDataSourceConfig(_ context.Context, req *tfprotov5.ValidateDataSourceConfigRequest) (*tfprotov5.ValidateDataSourceConfigResponse, error) {
	diags, err := validateConfig(s.provider.data[req.TypeName], req.Config)
	return &tfprotov5.ValidateDataSourceConfigResponse{Diagnostics: diags}, err
}

func (s *server) UpgradeResourceState(_ context.Context, req *tfprotov5.UpgradeResourceStateRequest) (*tfprotov5.UpgradeResourceStateResponse, error) {
	typ := s.provider.resources[req.TypeName].ValueType()
	opts := tfprotov5.UnmarshalOpts{ValueFromJSONOpts: tftypes.ValueFromJSONOpts{IgnoreUndefinedAttributes: true}}
	state, err := req.RawState.UnmarshalWithOpts(typ, opts)
	if err != nil {
		return nil, fmt.Errorf("state of %s: %w", req.TypeName, err)
	}
	value, err := tfprotov5.NewDynamicValue(typ, state)
	return &tfprotov5.UpgradeResourceStateResponse{UpgradedState: &value}, err
}

func (s *server) ReadResource(_ context.Context, req *tfprotov5.ReadResourceRequest) (*tfprotov5.ReadResourceResponse, error) {
	return &tfprotov5.ReadResourceResponse{NewState: req.CurrentState, Private: req.Private}, nil
}

func (s *server) PlanResourceChange(_ context.Context, req *tfprotov5.PlanResourceChangeRequest) (*tfprotov5.PlanResourceChangeResponse, error) {
	resp := &tfprotov5.PlanResourceChangeResponse{
		PlannedState:                req.ProposedNewState,
		PlannedPrivate:              req.PriorPrivate,
		UnsafeToUseLegacyTypeSystem: true, // allows defaults for what is not computed, as the real providers have them
	}
	if gone, err := req.ProposedNewState.IsNull(); gone || err != nil {
		return resp, err
	}
	schema := s.provider.resources[req.TypeName]
	proposed, err := req.ProposedNewState.Unmarshal(schema.ValueType())
	if err != nil {
		return nil, err
	}
	planned, err := planBlock(schema.Block, proposed, values[req.TypeName])
	if err != nil {
		return nil, err
	}
	fields := map[string]tftypes.Value{}
	if err := planned.As(&fields); err != nil {
		return nil, err
	}
	config, err := fieldsOf(schema, req.Config)
	if err != nil {
		return nil, err
	}
	if err := planMerged(fields, config, s.defaults); err != nil {
		return nil, err
	}
	value, err := tfprotov5.NewDynamicValue(schema.ValueType(), tftypes.NewValue(planned.Type(), fields))
	resp.PlannedState = &value
	return resp, err
}

func (s *server) ApplyResourceChange(_ context.Context, req *tfprotov5.ApplyResourceChangeRequest) (*tfprotov5.ApplyResourceChangeResponse, error) {
	resp := &tfprotov5.ApplyResourceChangeResponse{NewState: req.PlannedState, Private: req.PlannedPrivate, UnsafeToUseLegacyTypeSystem: true}
	if gone, err := req.PlannedState.IsNull(); gone || err != nil {
		return resp, err
	}
	schema := s.provider.resources[req.TypeName]
	planned, err := req.PlannedState.Unmarshal(schema.ValueType())
	if err != nil {
		return nil, err
	}
	state, err := fill(req.TypeName, s.settings, s.seed(req.TypeName, req.PlannedState.MsgPack), planned)
	if err != nil {
		return nil, err
	}
	value, err := tfprotov5.NewDynamicValue(schema.ValueType(), state)
	resp.NewState = &value
	return resp, err
}

func (s *server) ReadDataSource(_ context.Context, req *tfprotov5.ReadDataSourceRequest) (*tfprotov5.ReadDataSourceResponse, error) {
	schema, key := s.provider.data[req.TypeName], "data."+req.TypeName
	config, err := req.Config.Unmarshal(schema.ValueType())
	if err != nil {
		return nil, err
	}
	planned, err := planBlock(schema.Block, config, values[key])
	if err != nil {
		return nil, err
	}
	if special, ok := specialReads[req.TypeName]; ok {
		fields := map[string]tftypes.Value{}
		if err := planned.As(&fields); err != nil {
			return nil, err
		}
		if err := special(fields); err != nil {
			return &tfprotov5.ReadDataSourceResponse{Diagnostics: failure(err)}, nil
		}
		planned = tftypes.NewValue(planned.Type(), fields)
	}
	state, err := fill(key, s.settings, req.Config.MsgPack, planned)
	if err != nil {
		return nil, err
	}
	value, err := tfprotov5.NewDynamicValue(schema.ValueType(), state)
	return &tfprotov5.ReadDataSourceResponse{State: &value}, err
}

func (s *server) ImportResourceState(_ context.Context, req *tfprotov5.ImportResourceStateRequest) (*tfprotov5.ImportResourceStateResponse, error) {
	return &tfprotov5.ImportResourceStateResponse{Diagnostics: failure(fmt.Errorf("%s: there is nothing to import offline", req.TypeName))}, nil
}

func failure(err error) []*tfprotov5.Diagnostic {
	return []*tfprotov5.Diagnostic{{Severity: tfprotov5.DiagnosticSeverityError, Summary: err.Error()}}
}

// seed tells resources apart that are planned alike, such as those of one count, within one run.
func (s *server) seed(typeName string, planned []byte) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := typeName + string(planned)
	s.seen[key]++
	return binary.BigEndian.AppendUint64([]byte(key), s.seen[key])
}

func validateConfig(schema *tfprotov5.Schema, config *tfprotov5.DynamicValue) ([]*tfprotov5.Diagnostic, error) {
	object, err := config.Unmarshal(schema.ValueType())
	if err != nil {
		return nil, err
	}
	return validate(schema.Block, object, tftypes.NewAttributePath())
}

func fieldsOf(schema *tfprotov5.Schema, value *tfprotov5.DynamicValue) (map[string]tftypes.Value, error) {
	object, err := value.Unmarshal(schema.ValueType())
	if err != nil {
		return nil, err
	}
	fields := map[string]tftypes.Value{}
	return fields, object.As(&fields)
}
