// The objects of the API that the console shows. docs/openapi.json describes them in full.

export type Value = number | boolean | string;
export type Role = 'admin' | 'user';
export type OrgRole = 'owner' | 'admin' | 'member' | 'viewer';

export interface List<T> { items: T[]; next_cursor: string | null; total?: number }

export interface User {
  id: string; name: string; email: string; role: Role; time_zone: string;
  created_at: string; updated_at: string; last_login_at: string | null;
}
export interface ManagedUser extends User { disabled: boolean }
export interface Tokens { access_token: string; expires_in: number; refresh_token: string; user: User }
export interface Session { id: string; user_agent: string; ip: string; created_at: string; last_used_at: string; expires_at: string; current: boolean }
export interface APIKey {
  id: string; name: string; prefix: string; scopes: string[]; organization_id: string | null;
  created_at: string; expires_at: string | null; last_used_at: string | null;
}

export interface Organization { id: string; name: string; role: OrgRole; created_at: string; updated_at: string }
export interface Member { user_id: string; name: string; email: string; role: OrgRole; joined_at: string }

export type Connection = 'online' | 'offline' | 'never';
export interface Reading { value: Value; timestamp: string }
export interface Device {
  id: string; name: string; type: string; serial: string | null; status: 'active' | 'inactive' | 'error'; connection: Connection;
  tags: string[]; metadata: Record<string, unknown> | null; heartbeat_interval: number; last_active_at: string | null;
  owner_id: string; organization_id: string | null; version: number; created_at: string; updated_at: string;
  latest?: Record<string, Reading>;
}
export interface Heartbeat { device_id: string; status: Device['status']; connection: Connection; last_active_at: string }
export interface DeviceToken { id: string; created_at: string; last_used_at: string | null }
export interface NewDeviceToken { id: string; token: string; created_at: string }

export interface Log { id: string; device_id: string; event: string; value: Value; timestamp: string }
export interface LogSummary { device_id: string; count: number; latest: Record<string, Reading> }
export interface Latest extends Reading { event: string }

export interface Point { at: string; count: number; total: number; average: number | null; min: number | null; max: number | null; increase?: number | null }
export interface Summary extends Omit<Point, 'at'> { p50: number | null; p95: number | null; p99: number | null; first: Value | null; last: Value | null }
export interface Usage { device_id: string; device_name: string; from: string; to: string; interval: string; summary: Summary; trend: Point[] }
export interface States {
  event: string; from: string; to: string; truncated?: boolean;
  totals: { value: Value; seconds: number; count: number; share: number }[];
  segments: { value: Value; from: string; to: string }[];
}

export interface Dashboard {
  from: string; to: string;
  summary: { total_devices: number; active_devices: number; online_devices: number; total_logs: number; logs: number; total_value: number };
  devices: { device_id: string; device_name: string; device_type: string; log_count: number; total_value: number; last_active_at: string | null }[];
  trend: { at: string; log_count: number; total_value: number }[];
  events: { event: string; count: number; total_value: number }[];
}
export interface RealtimeFigures { at: string; online_devices: number; active_devices: number; heartbeats_per_second: number; logs_per_second: number; connections: number }

export interface Twin {
  device_id: string; desired: Record<string, unknown>; reported: Record<string, unknown>; delta: Record<string, unknown>;
  desired_version: number; reported_version: number; desired_at: string | null; reported_at: string | null;
}
export type CommandState = 'queued' | 'sent' | 'delivered' | 'succeeded' | 'failed' | 'expired' | 'cancelled';
export interface Command {
  id: string; device_id: string; name: string; params: unknown; state: CommandState; result: unknown; error: string | null; created_by: string;
  created_at: string; sent_at: string | null; delivered_at: string | null; completed_at: string | null; expires_at: string; attempts: number;
}

export interface ExportFilters { device_ids?: string[] | null; events?: string[] | null; include_inactive?: boolean }
export interface Export {
  id: string; type: string; format: string; compression: string; status: 'queued' | 'running' | 'completed' | 'failed' | 'cancelled';
  from: string | null; to: string | null; filters: ExportFilters;
  progress: { percentage: number; step: string; processed_records: number; total_records: number };
  result: { file_name: string; file_size: number; record_count: number; download_count: number; sha256: string } | null;
  error: { code: string; message: string } | null;
  created_at: string; started_at: string | null; completed_at: string | null; expires_at: string | null;
}
export interface Schedule {
  id: string; name: string; type: string; format: string; compression: string; every: 'daily' | 'weekly' | 'monthly'; at: string; time_zone: string;
  weekday: string | null; day: number | null; enabled: boolean; next_run_at: string | null; last_run_at: string | null;
  last_export_id: string | null; last_error: { code: string; message: string } | null;
}

export interface Notification {
  id: string; type: string; title: string; body: string; data: Record<string, string>; read_at: string | null; created_at: string;
}
export interface Delivery { in_app: boolean; email: boolean }
export interface NotificationSettings {
  devices: string[]; types: Record<string, Delivery>; email_digest_minutes: number; quiet_hours: { start: string; end: string } | null;
}
export interface Channel {
  id: string; name: string; kind: 'webhook' | 'ntfy' | 'slack' | 'teams'; address: string; types: string[]; min_severity: string | null; digest_minutes: number;
  enabled: boolean; disabled_reason: string | null; failing_since: string | null; last_error: string | null;
}
export interface Attempt { at: string; status: number | null; duration_ms: number; error: string | null; answer: string | null }

export interface Job {
  id: string; queue: string; kind: string; state: string; attempt: number; max_attempts: number; last_error: string | null; worker: string | null;
  created_at: string; scheduled_at: string | null; started_at: string | null; finished_at: string | null;
  progress: { percentage: number; step: string; done: number; total: number } | null;
}
export interface Queue { queue: string; pending: number; running: number; scheduled: number; retrying: number; completed: number; dead: number }
export interface AuditEntry {
  seq: number; at: string; actor_id: string; action: string; target: string; result: string; ip: string; user_agent: string; request_id: string;
  changes: Record<string, { before?: unknown; after?: unknown }> | null;
}
export interface Metrics {
  instances: number;
  requests: { total: number; per_second: number; error_rate_4xx: number; error_rate_5xx: number };
  latency_ms: { p50: number; p95: number; p99: number };
  routes: { route: string; total: number; latency_ms: { p50: number; p95: number; p99: number } }[];
  cache: { hit_rate: number; layers: { layer: string; hit_rate: number; entries: number; bytes: number }[] };
  process: { cpu: number; memory: number; goroutines: number };
  database: { engine: string; state: string; bytes: number; latency_ms: number; wal_bytes?: number };
}
export interface Health { status: string; version: string; uptime_seconds: number; dependencies: Record<string, { state: string; latency_ms: number; required: boolean }> }

export interface ProvisioningKey {
  id: string; name: string; prefix: string; organization_id: string | null; device_type: string; tags: string[];
  max_devices: number | null; device_count: number; created_at: string; expires_at: string | null;
}
