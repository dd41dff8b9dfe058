// The objects of alarms and rules.
import type { Value } from './types';

export type Severity = 'critical' | 'major' | 'minor' | 'warning' | 'info';
export interface Alarm {
  id: string; rule_id: string; rule_name: string; device_id: string; device_name: string; severity: Severity; state: 'active' | 'cleared';
  acknowledged: boolean; acknowledged_by: string | null; acknowledged_at: string | null;
  raised_at: string; cleared_at: string | null; value: Value | null; count: number; last_at: string;
}
export interface AlarmDetails extends Alarm { history: { at: string; event: string; user_id: string | null; text: string | null }[] }
export interface Condition {
  event?: string; operator?: string; value?: Value; expression?: string; for?: number; clear?: { value?: Value; for?: number };
  offline_for?: number; no_data?: { event?: string; for: number };
}
export interface RuleSchedule { tz: string; days: string[]; start: string; end: string }
export interface RuleAction { notify: string | string[]; on: string }
export interface Rule {
  id: string; name: string; organization_id: string | null; enabled: boolean; devices: { ids?: string[]; type?: string; tag?: string };
  condition: Condition; schedule: RuleSchedule | null; severity: Severity; actions: RuleAction[]; version: number; created_at: string; updated_at: string;
}
export interface Episode { device_id: string; raised_at: string; cleared_at: string | null; value: Value | null }
