// The objects of the API that the console shows, as the document says them: the client's types, and what is the console's own.
import type { Alarm, Rule as AnyRule, RuleAction as AnyRuleAction, Value } from '../../client/ts/src/api.gen';

export type {
  Alarm, AlarmDetails, AuditEntry, Command, CommandState, Dashboard, DatabaseFigures, Delivery, Device, DeviceToken, Export, ExportFilters, Heartbeat, Job,
  Log, ManagedUser, Member, Metrics, NewDeviceToken, Notification, NotificationSettings, Organization, ProvisioningKey, Queue,
  RealtimeFigures, RuleSchedule, Session, States, Summary, Tokens, Twin, Usage, User, UserRole, Value, Webhook,
  WebhookDelivery,
} from '../../client/ts/src/api.gen';
export type {
  DeliveryAttempt as Attempt, DeviceConnection as Connection, ExportSchedule as Schedule, LatestLog as Latest, ListedAPIKey as APIKey,
  NotificationChannel as Channel, OrganizationRole as OrgRole, RuleCondition as Condition, RuleEpisode as Episode, TrendPoint as Point,
} from '../../client/ts/src/api.gen';

export type Severity = Alarm['severity'];
export interface RuleAction extends AnyRuleAction { notify?: string | string[] }
export interface Rule extends AnyRule { actions: RuleAction[] }

export interface List<T> { items: T[]; next_cursor: string | null; total?: number }

export interface Reading { value: Value; timestamp: string }

// Many logs of a device at once, as its stream sends them.
export interface LogSummary { device_id: string; count: number; latest: Record<string, Reading> }

export interface Health { status: string; version: string; uptime_seconds: number; dependencies: Record<string, { state: string; latency_ms: number; required: boolean }> }
