/** Tasks: start, follow, cancel, results and output. */
import { keepPreviousData, useInfiniteQuery, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useWatch } from "./events/live";
import { longer, type Output } from "./events/output";
import { call, callBytes, get } from "./http";
import { keys, type ScopeFilter } from "./keys";
import { first, next } from "./paging";
import type { NewTask, Page, Task, TaskDetail, TaskGroup, TaskTarget } from "./types";

export const useTasks = (scope: ScopeFilter, q: string, status: string) =>
  useInfiniteQuery({
    queryKey: keys.tasks(scope, q, status),
    queryFn: ({ pageParam, signal }) => get<Page<Task>>("/tasks", { ...scope, q, status, limit: 100, cursor: pageParam }, signal),
    initialPageParam: first,
    getNextPageParam: next,
    placeholderData: keepPreviousData,
  });

export const useDeviceTasks = (device: string) =>
  useInfiniteQuery({
    queryKey: keys.deviceTasks(device),
    queryFn: ({ pageParam, signal }) => get<Page<Task>>(`/devices/${device}/tasks`, { limit: 100, cursor: pageParam }, signal),
    initialPageParam: first,
    getNextPageParam: next,
  });

/** A task with its first targets, live while mounted. */
export function useTask(id: string) {
  useWatch("tasks", id);
  return useQuery({ queryKey: keys.task(id), queryFn: ({ signal }) => get<TaskDetail>(`/tasks/${id}`, undefined, signal) });
}

export const useTaskGroups = (id: string, enabled = true) =>
  useQuery({
    queryKey: keys.taskGroups(id),
    queryFn: ({ signal }) => get<{ items: TaskGroup[] }>(`/tasks/${id}/groups`, undefined, signal),
    enabled,
  });

export const useTaskTargets = (id: string, status: string, enabled = true) =>
  useInfiniteQuery({
    queryKey: keys.taskTargets(id, status),
    queryFn: ({ pageParam, signal }) => get<Page<TaskTarget>>(`/tasks/${id}/targets`, { status, limit: 200, cursor: pageParam }, signal),
    initialPageParam: first,
    getNextPageParam: next,
    enabled,
  });

/** The path of a task's raw output on one device. */
export const outputPath = (task: string, device: string) => `/tasks/${task}/targets/${device}/output`;

/**
 * Output so far: what is stored, extended by live pieces. Nothing is read again by the clock: whatever the live pieces
 * left out is announced by its length once it is stored. Output only grows, so of two answers the longer one holds.
 */
export const useOutput = (task: string, device: string) =>
  useQuery<Output>({
    queryKey: keys.output(task, device),
    queryFn: async ({ signal }) => ({ bytes: await callBytes(outputPath(task, device), signal) }),
    staleTime: 5_000,
    structuralSharing: (old, fresh) => longer(old as Output | undefined, fresh as Output),
  });

export function useStartTask() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: ({ task, idempotencyKey }: { task: NewTask; idempotencyKey: string }) => call<{ id: string }>("POST", "/tasks", { body: task, idempotencyKey }),
    onSuccess: () => client.invalidateQueries({ queryKey: ["tasks"] }),
  });
}

export function useCancelTask(id: string) {
  const client = useQueryClient();
  return useMutation({
    mutationFn: () => call<unknown>("POST", `/tasks/${id}/cancel`, { idempotencyKey: crypto.randomUUID() }),
    onSuccess: () => client.invalidateQueries({ queryKey: keys.task(id) }),
  });
}
