#!/usr/bin/env bash
# `deploy` deploys IMAGE to the ECS service that docs/deploy/ecs.md sets up, in the job's account and region (AWS_REGION).
# Its outputs are `previous`, the task definition that ran before, which is written before anything changes, and `url`,
# which is URL. `roll-back DEFINITION` runs that task definition again.
set -euo pipefail

services() { # QUERY: print a property of the service
    aws ecs describe-services --cluster support-agent --services support-agent --output text --query "$1"
}
run() { # TASK DEFINITION; ECS rolls back by itself if the tasks don't become healthy
    aws ecs update-service --cluster support-agent --service support-agent --task-definition "$1" >/dev/null
    aws ecs wait services-stable --cluster support-agent --services support-agent
    running=$(services 'services[0].taskDefinition')
    if [ "$running" != "$1" ]; then
        echo "::error::$1 did not become healthy: ECS rolled back to $running"
        exit 1
    fi
}

case $1 in
deploy)
    : "${URL:?set the variable URL of the environment to the address of the service}"
    previous=$(services "services[?status=='ACTIVE'].taskDefinition")
    if [ -z "$previous" ]; then
        echo "::error::the cluster support-agent has no service support-agent: set it up as docs/deploy/ecs.md describes"
        exit 1
    fi
    echo "previous=$previous" >>"$GITHUB_OUTPUT"
    registry=$(aws sts get-caller-identity --query Account --output text).dkr.ecr.$AWS_REGION.amazonaws.com
    aws ecr get-login-password | docker login "$registry" --username AWS --password-stdin
    IMAGE=$("$(dirname "$0")/../copy-image.sh" "$registry/support-agent")
    EXECUTION_ROLE_ARN=$(aws ecs describe-task-definition --task-definition "$previous" \
        --query taskDefinition.executionRoleArn --output text)
    SECRET_ARN=$(aws secretsmanager describe-secret --secret-id support-agent --query ARN --output text)
    export IMAGE AWS_REGION EXECUTION_ROLE_ARN SECRET_ARN
    task=$(envsubst <deploy/ecs/task-definition.json)
    new=$(aws ecs register-task-definition --cli-input-json "$task" \
        --query taskDefinition.taskDefinitionArn --output text)
    run "$new"
    echo "url=$URL" >>"$GITHUB_OUTPUT"
    ;;
roll-back)
    run "$2"
    echo "::error::rolled back to $2, because the deployment failed its smoke test"
    ;;
*)
    echo "::error::$1: must be deploy or roll-back" >&2
    exit 2
    ;;
esac
