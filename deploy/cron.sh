#!/bin/sh
# Start cron in a container. It gives its jobs nothing of the container's environment, so every ATTRITION_ variable
# goes into the crontab, above the line of cronjob.txt. To be started as root; the runs are the user attrition's.
set -eu
cd -- "$(dirname -- "$0")/.."

{
    env | grep '^ATTRITION_[A-Z_]*=' || true
    # its mail would go nowhere: models/log.txt and the alerts tell
    echo 'MAILTO=""'
    cat cronjob.txt
} | crontab -u attrition -

# volumes are root's when they are made
chown attrition ingesteddata models practicemodels production_deployment
exec cron -f
